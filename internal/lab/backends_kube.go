package lab

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"k8s.io/client-go/tools/clientcmd/api"

	"tshx/internal/kubeconfig"
	"tshx/internal/proxyserver"
)

// Load reads the kubeconfig of k, which has to name one. A proxy-url in it is for
// the caller.
func (k Kube) Load() (proxyserver.Kube, error) { return k.load(false) }

// backend is Load for a lab or an agent, once at its start. It dials what is there
// itself.
func (k Kube) backend() (proxyserver.Kube, error) { return k.load(true) }

func (k Kube) load(direct bool) (proxyserver.Kube, error) {
	out, err := k.open(direct)
	if err != nil {
		err = fmt.Errorf("kube %s: %s: %w", k.Name, k.Kubeconfig, err)
	}
	return out, err
}

func (k Kube) open(direct bool) (proxyserver.Kube, error) {
	none := proxyserver.Kube{}
	if _, err := os.Stat(k.Kubeconfig); err != nil {
		return none, errors.Unwrap(err) // it names the file again
	}
	config, err := kubeconfig.Load([]string{k.Kubeconfig})
	if err != nil {
		return none, err
	}
	name := cmp.Or(k.Context, config.CurrentContext)
	context := config.Contexts[name]
	if context == nil {
		return none, fmt.Errorf("has no context %q", name)
	}
	cluster := config.Clusters[context.Cluster]
	if cluster == nil {
		return none, fmt.Errorf("context %q: has no cluster %q", name, context.Cluster)
	}
	if direct && cluster.ProxyURL != "" {
		return none, fmt.Errorf("cluster %q: has a proxy-url, and a lab dials directly: name a kubeconfig without it", context.Cluster)
	}
	out := proxyserver.Kube{Name: k.Name, Server: cluster.Server}
	out.TLS = &tls.Config{ServerName: cluster.TLSServerName, InsecureSkipVerify: cluster.InsecureSkipTLSVerify}
	if out.TLS.RootCAs, err = authorities(cluster); err != nil {
		return none, fmt.Errorf("cluster %q: %w", context.Cluster, err)
	}
	if user := config.AuthInfos[context.AuthInfo]; user != nil {
		if err := logIn(&out, user); err != nil {
			return none, fmt.Errorf("user %q: %w", context.AuthInfo, err)
		}
	}
	return out, nil
}

// authorities returns nil where a cluster names none.
func authorities(c *api.Cluster) (*x509.CertPool, error) {
	text, err := either(c.CertificateAuthorityData, c.CertificateAuthority)
	if err != nil || text == nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("its certificate authority is no certificate")
	}
	return pool, nil
}

// logIn takes what a user logs in with: a certificate or a token.
func logIn(k *proxyserver.Kube, user *api.AuthInfo) error {
	cert, err := either(user.ClientCertificateData, user.ClientCertificate)
	if err != nil {
		return err
	}
	key, err := either(user.ClientKeyData, user.ClientKey)
	if err != nil {
		return err
	}
	if cert != nil {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return err
		}
		k.TLS.Certificates = []tls.Certificate{pair}
	}
	token, err := either([]byte(user.Token), user.TokenFile)
	k.Token = strings.TrimSpace(string(token))
	switch {
	case err != nil:
		return err
	case cert == nil && k.Token == "" && (user.Exec != nil || user.AuthProvider != nil || user.Username != ""):
		return errors.New("a lab logs in with a certificate or a token only")
	}
	return nil
}

// either returns data, or else what is in file; nil without both.
func either(data []byte, file string) ([]byte, error) {
	if len(data) > 0 || file == "" {
		return data, nil
	}
	return os.ReadFile(file)
}
