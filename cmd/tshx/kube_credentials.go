package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"tshx/internal/kubeconfig"
)

type kubeCredentialsCmd struct {
	Name    string `name:"kube-cluster" required:"" placeholder:"NAME" help:"Name of the Kubernetes cluster."`
	Cluster string `name:"teleport-cluster" required:"" placeholder:"NAME" help:"Cluster that it belongs to."`
}

// Run answers kubectl, from the disk alone.
func (c *kubeCredentialsCmd) Run(env *Env, g *Globals) error {
	version, err := kubeconfig.CredentialVersion(env.Getenv("KUBERNETES_EXEC_INFO"))
	if err != nil {
		return err
	}
	l, err := g.openOffline(env, c.Cluster)
	if err != nil {
		return err
	}
	cert, err := l.KubeCert(c.Name)
	if err != nil {
		return err
	}
	if needed, _ := l.kubeUpgrade(); needed {
		return &kubectlAloneError{c.Name}
	}
	certPEM, keyPEM, err := pemOf(cert)
	if err != nil {
		return err
	}
	answer, err := kubeconfig.Credential(version, certPEM, keyPEM, cert.Leaf.NotAfter)
	if err != nil {
		return err
	}
	return printText(env.Stdout, string(answer))
}

// kubectlAloneError says that kubectl would not get to the cluster.
type kubectlAloneError struct {
	name string
}

func (e *kubectlAloneError) Error() string {
	return fmt.Sprintf("kubectl alone does not reach kube cluster %q: something in front of the proxy ends TLS", e.name)
}

// Hint names the commands that do.
func (e *kubectlAloneError) Hint() string {
	return "use tshx kubectl in place of kubectl, or: tshx proxy kube " + quote(e.name)
}

// pemOf is a certificate with its key in the form that all programs take: that in
// a login may be OpenSSH's.
func pemOf(c *tls.Certificate) (cert, key []byte, err error) {
	for _, der := range c.Certificate {
		cert = append(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}
