package profile

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// parseKey reads the first private key in data: PKCS#1, PKCS#8, SEC 1 or
// OpenSSH, of an RSA, ECDSA or Ed25519 key. Its errors say nothing of the
// key's content.
func parseKey(data []byte) (crypto.Signer, error) {
	for {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			return nil, errors.New("no private key in PEM form")
		}
		if isKeyBlock(block.Type) {
			return parseKeyBlock(block)
		}
	}
}

func isKeyBlock(kind string) bool { return strings.HasSuffix(kind, "PRIVATE KEY") }

func parseKeyBlock(block *pem.Block) (crypto.Signer, error) {
	if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") { // RFC 1421, section 4.6.1.1
		return nil, ErrKeyEncrypted
	}
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "OPENSSH PRIVATE KEY":
		key, err = ssh.ParseRawPrivateKey(pem.EncodeToMemory(block))
	case "ENCRYPTED PRIVATE KEY":
		return nil, ErrKeyEncrypted
	case "PIV YUBIKEY PRIVATE KEY":
		return nil, ErrKeyInHardware
	default:
		return nil, fmt.Errorf("private key of unknown form %q", block.Type)
	}
	var passphrase *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &passphrase):
		return nil, ErrKeyEncrypted
	case err != nil:
		return nil, fmt.Errorf("private key: %w", err)
	}
	if pointer, ok := key.(*ed25519.PrivateKey); ok { // from the OpenSSH form
		key = *pointer
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("private key of a kind that cannot sign (%T)", key)
	}
	return signer, nil
}

// samePublic reports whether key is the private half of public.
func samePublic(key crypto.Signer, public crypto.PublicKey) bool {
	own, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && own.Equal(public)
}
