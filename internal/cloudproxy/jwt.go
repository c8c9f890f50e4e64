package cloudproxy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // for the larger curves
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

var base64URL = base64.RawURLEncoding

// errToken says that a token is none that was made by this key.
var errToken = errors.New("the token was not made here")

// signHMAC makes a JSON Web Token (RFC 7519) that only holders of the key can
// make and check.
func signHMAC(key []byte, claims any) (string, error) {
	text, err := unsignedJWT("HS256", claims)
	if err != nil {
		return "", err
	}
	return text + "." + base64URL.EncodeToString(mac(key, text)), nil
}

// verifyHMAC reads the claims of a token made by signHMAC. Its time is for the
// caller to look at.
func verifyHMAC(key []byte, token string, claims any) error {
	i := strings.LastIndexByte(token, '.')
	if i < 0 {
		return errToken
	}
	_, payload, _ := strings.Cut(token[:i], ".")
	sum, err := base64URL.DecodeString(token[i+1:])
	if err != nil || !hmac.Equal(sum, mac(key, token[:i])) {
		return errToken
	}
	b, err := base64URL.DecodeString(payload)
	if err != nil {
		return errToken
	}
	return json.Unmarshal(b, claims)
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// unsignedJWT is what is signed of a token (RFC 7515, section 5.1).
func unsignedJWT(alg string, claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	header := fmt.Sprintf(`{"alg":%q,"typ":"JWT"}`, alg)
	return base64URL.EncodeToString([]byte(header)) + "." + base64URL.EncodeToString(payload), nil
}

// signJWT makes a token that holders of the public key can check (RFC 7518,
// section 3.1; RFC 8037).
func signJWT(key crypto.PrivateKey, claims any) (string, error) {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return "", errors.New("the private key cannot sign")
	}
	alg, hash, err := jwtAlgorithm(signer.Public())
	if err != nil {
		return "", err
	}
	text, err := unsignedJWT(alg, claims)
	if err != nil {
		return "", err
	}
	digest := []byte(text)
	if hash != 0 {
		h := hash.New()
		h.Write(digest)
		digest = h.Sum(nil)
	}
	signature, err := signer.Sign(rand.Reader, digest, hash)
	if err != nil {
		return "", err
	}
	if public, ok := signer.Public().(*ecdsa.PublicKey); ok {
		if signature, err = rawECDSA(public.Curve, signature); err != nil {
			return "", err
		}
	}
	return text + "." + base64URL.EncodeToString(signature), nil
}

func jwtAlgorithm(public crypto.PublicKey) (string, crypto.Hash, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return "RS256", crypto.SHA256, nil
	case ed25519.PublicKey:
		return "EdDSA", 0, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return "ES256", crypto.SHA256, nil
		case elliptic.P384():
			return "ES384", crypto.SHA384, nil
		case elliptic.P521():
			return "ES512", crypto.SHA512, nil
		}
	}
	return "", 0, fmt.Errorf("no JSON Web Tokens with keys of type %T", public)
}

// rawECDSA turns a signature into the form that tokens have: the two numbers one
// after the other (RFC 7518, section 3.4).
func rawECDSA(curve elliptic.Curve, der []byte) ([]byte, error) {
	var s struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &s); err != nil {
		return nil, err
	}
	size := (curve.Params().BitSize + 7) / 8
	raw := make([]byte, 2*size)
	s.R.FillBytes(raw[:size])
	s.S.FillBytes(raw[size:])
	return raw, nil
}
