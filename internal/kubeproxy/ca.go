package kubeproxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"time"
)

// serverDomain is in the certificate that clients are shown, with a label for
// each cluster in front of it.
const serverDomain = "kube.tshx.localhost"

// AccessDays is how long the certificates of one run are valid: longer than it
// lasts. They are worth nothing once it has ended.
const AccessDays = 10 * 365

// clockSkew is how long before now they are so already, for clocks that are set.
const clockSkew = time.Hour

// Access is what a client needs to be let in. Key is a secret.
type Access struct {
	CA        []byte // PEM, vouches for the server
	Cert, Key []byte // PEM, of the client
}

// newAccess makes an authority, a server and a client certificate. The
// authority's key is forgotten, so that there will be no others; the server's is
// only in the configuration. It is good for hosts, too: not all clients know
// tls-server-name.
func newAccess(now time.Time, hosts []string) (Access, *tls.Config, error) {
	ca := template(now, "tshx kube proxy")
	ca.IsCA, ca.BasicConstraintsValid, ca.MaxPathLenZero = true, true, true
	ca.KeyUsage = x509.KeyUsageCertSign
	caCert, caKey, err := issue(ca, nil, nil)
	if err != nil {
		return Access{}, nil, err
	}
	server := template(now, serverDomain)
	server.DNSNames = []string{"*." + serverDomain}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			server.IPAddresses = append(server.IPAddresses, ip)
		} else {
			server.DNSNames = append(server.DNSNames, host)
		}
	}
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	serverCert, serverKey, err := issue(server, caCert, caKey)
	if err != nil {
		return Access{}, nil, err
	}
	client := template(now, "tshx kube client")
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	clientCert, clientKey, err := issue(client, caCert, caKey)
	if err != nil {
		return Access{}, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(clientKey)
	if err != nil {
		return Access{}, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(caCert)
	return Access{
			CA:   block("CERTIFICATE", caCert.Raw),
			Cert: block("CERTIFICATE", clientCert.Raw),
			Key:  block("PRIVATE KEY", der),
		}, &tls.Config{
			MinVersion:   tls.VersionTLS12,
			Certificates: []tls.Certificate{{Certificate: [][]byte{serverCert.Raw}, PrivateKey: serverKey, Leaf: serverCert}},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: roots,
			// Nobody records loopback for the days of quantum computers, and each
			// kubectl does a full handshake.
			CurvePreferences:            []tls.CurveID{tls.X25519, tls.CurveP256},
			DynamicRecordSizingDisabled: true,
		}, nil
}

func template(now time.Time, name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: now.Add(-clockSkew), NotAfter: now.AddDate(0, 0, AccessDays),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

// issue makes a key and its certificate, signed by itself where parent is nil.
func issue(t, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if parent == nil {
		parent, signer = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, nil, fmt.Errorf("local certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
