package profile

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestBadKeys(t *testing.T) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must(x509.MarshalECPrivateKey(key))
	exchange := must(ecdh.X25519().GenerateKey(rand.Reader))
	tests := []struct {
		name string
		data []byte
		is   error
		text string
	}{
		{"empty", nil, nil, "no private key in PEM form"},
		{"a certificate", newAuthority("c").pem(), nil, "no private key in PEM form"},
		{"encrypted, RFC 1421", pem.EncodeToMemory(&pem.Block{
			Type: "EC PRIVATE KEY", Bytes: der, Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"},
		}), ErrKeyEncrypted, ""},
		{"encrypted, PKCS#8", encode("ENCRYPTED PRIVATE KEY", der), ErrKeyEncrypted, ""},
		{"encrypted, OpenSSH", pem.EncodeToMemory(must(ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte("x")))), ErrKeyEncrypted, ""},
		{"in hardware", encode("PIV YUBIKEY PRIVATE KEY", []byte("{}")), ErrKeyInHardware, ""},
		{"unknown form", encode("DSA PRIVATE KEY", der), nil, `private key of unknown form "DSA PRIVATE KEY"`},
		{"cannot sign", encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(exchange))), nil, "private key of a kind that cannot sign (*ecdh.PrivateKey)"},
		{"rubbish", encode("RSA PRIVATE KEY", []byte("rubbish")), nil, "private key: "},
		{"rubbish in OpenSSH form", encode("OPENSSH PRIVATE KEY", []byte("openssh-key-v1\x00rubbish")), nil, "private key: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseKey(tt.data)
			if err == nil {
				t.Fatalf("read a %T", got)
			}
			if tt.is != nil && !errors.Is(err, tt.is) || !strings.HasPrefix(err.Error(), tt.text) {
				t.Errorf("err = %v", err)
			}
		})
	}
}

// BenchmarkProxySSH is all that `tshx proxy ssh` asks of a login.
func BenchmarkProxySSH(b *testing.B) {
	for b.Loop() {
		p, err := Load(Options{Dir: fixture, Now: at(fixtureNow)})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.HostCAs(); err != nil {
			b.Fatal(err)
		}
		if _, _, err := p.SSHSigner(); err != nil {
			b.Fatal(err)
		}
		if _, err := p.HostKeyLines(); err != nil {
			b.Fatal(err)
		}
	}
}
