package proxyserver

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Algorithm is what kind of key to generate.
type Algorithm string

// Algorithms of clusters: v14 has RSA throughout, v17 ECDSA and Ed25519.
const (
	ECDSA   Algorithm = "ecdsa" // P-256, and the meaning of the empty Algorithm
	RSA     Algorithm = "rsa"   // 2048 bits; a tenth of a second and more to generate
	Ed25519 Algorithm = "ed25519"
)

// NewKey generates a private key.
func NewKey(alg Algorithm) (crypto.Signer, error) {
	switch alg {
	case "", ECDSA:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSA:
		return rsa.GenerateKey(rand.Reader, 2048)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("unknown key algorithm %q: use rsa, ecdsa or ed25519", alg)
}

// newKeys generates n keys side by side.
func newKeys(alg Algorithm, n int) ([]crypto.Signer, error) {
	keys := make([]crypto.Signer, n)
	var g errgroup.Group
	for i := range keys {
		g.Go(func() (err error) {
			keys[i], err = NewKey(alg)
			return err
		})
	}
	return keys, g.Wait()
}
