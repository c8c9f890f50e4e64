package lab

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"sync"

	"golang.org/x/crypto/ssh"

	"tshx/internal/proxyserver"
)

// keyCache hands out users' keys. RSA keys take long to make, so the homes of
// one lab share one unless they ask for a fresh one.
type keyCache struct {
	mu  sync.Mutex
	rsa crypto.Signer
}

func (k *keyCache) get(alg proxyserver.Algorithm, fresh bool) (crypto.Signer, error) {
	if alg != proxyserver.RSA || fresh {
		return proxyserver.NewKey(alg)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.rsa == nil {
		key, err := proxyserver.NewKey(alg)
		if err != nil {
			return nil, err
		}
		k.rsa = key
	}
	return k.rsa, nil
}

// marshalKey writes a private key in the form that the real login uses: RSA
// keys as PKCS#1, SSH keys in OpenSSH's own form, which is the only one that
// OpenSSH reads of Ed25519, all others as PKCS#8.
func marshalKey(key crypto.Signer, forSSH bool) ([]byte, error) {
	if k, ok := key.(*rsa.PrivateKey); ok {
		return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}), nil
	}
	if forSSH {
		block, err := ssh.MarshalPrivateKey(key, "")
		if err != nil {
			return nil, err
		}
		return pem.EncodeToMemory(block), nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
