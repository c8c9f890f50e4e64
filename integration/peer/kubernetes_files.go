//go:build linux

package peer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// kubeFiles is the directory with the keys of a cluster. There are two
// authorities, so that a user of the API server is nobody to etcd and the node.
type kubeFiles string

// The files.
const (
	inner      = "inner-ca.crt" // of all servers, and of the API server as a client
	users      = "users-ca.crt" // of users
	serverCert = "server.crt"
	serverKey  = "server.key"
	clientCert = "client.crt"
	clientKey  = "client.key"
	accountKey = "account.key" // signs the tokens of service accounts
)

func (f kubeFiles) path(name string) string { return filepath.Join(string(f), name) }

// make writes all files and returns the credentials of an administrator.
func (f kubeFiles) make() (admin kubePair, err error) {
	innerCA, err1 := newKubeCA("inner")
	usersCA, err2 := newKubeCA("users")
	if err := errors.Join(err1, err2); err != nil {
		return admin, err
	}
	// etcd's gateway is a client of itself with the server's certificate.
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	server, err1 := innerCA.issue(pkix.Name{CommonName: "kubernetes"}, both)
	client, err2 := innerCA.issue(pkix.Name{CommonName: "kube-apiserver"}, both[1:])
	admin, err3 := usersCA.issue(pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}, both[1:])
	_, account, err4 := newKubeKey()
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return admin, err
	}
	for name, content := range map[string][]byte{
		inner: certPEM(innerCA.cert), users: certPEM(usersCA.cert), accountKey: account,
		serverCert: server.cert, serverKey: server.key, clientCert: client.cert, clientKey: client.key,
	} {
		if err := os.WriteFile(f.path(name), content, 0o600); err != nil {
			return admin, err
		}
	}
	return admin, nil
}

// kubeconfig is that of a user of the API server at that URL.
func (f kubeFiles) kubeconfig(server string, user kubePair) ([]byte, error) {
	ca, err := os.ReadFile(f.path(inner))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: peer
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: admin
  user: {client-certificate-data: %s, client-key-data: %s}
contexts:
- name: peer
  context: {cluster: peer, user: admin}
current-context: peer
`, server, b64(ca), b64(user.cert), b64(user.key)), err
}

// newKubeKey returns a key, and it in PEM in the only form that the API server
// reads keys of accounts in.
func newKubeKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), err
}

// kubePair is a certificate and its key, in PEM.
type kubePair struct{ cert, key []byte }

type kubeCA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newKubeCA(name string) (*kubeCA, error) {
	key, _, err := newKubeKey()
	if err != nil {
		return nil, err
	}
	tmpl := kubeTemplate(pkix.Name{CommonName: name})
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	ca := &kubeCA{cert: tmpl, key: key}
	ca.cert, err = ca.sign(tmpl, key.Public())
	return ca, err
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// issue makes a certificate for the subject, good for 127.0.0.1 where it is one
// of a server.
func (ca *kubeCA) issue(subject pkix.Name, usages []x509.ExtKeyUsage) (kubePair, error) {
	key, keyPEM, err := newKubeKey()
	if err != nil {
		return kubePair{}, err
	}
	tmpl := kubeTemplate(subject)
	tmpl.KeyUsage, tmpl.ExtKeyUsage = x509.KeyUsageDigitalSignature, usages
	tmpl.DNSNames, tmpl.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	cert, err := ca.sign(tmpl, key.Public())
	if err != nil {
		return kubePair{}, err
	}
	return kubePair{cert: certPEM(cert), key: keyPEM}, nil
}

func (ca *kubeCA) sign(tmpl *x509.Certificate, pub crypto.PublicKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, pub, ca.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func kubeTemplate(subject pkix.Name) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // never fails
	return &x509.Certificate{
		SerialNumber: serial, Subject: subject,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
	}
}
