package kubeproxy

import (
	"crypto/tls"
	"time"

	"tshx/internal/localca"
)

// serverDomain is in the certificate that clients are shown, with a label for
// each cluster in front of it.
const serverDomain = "kube.tshx.localhost"

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
	ca, err := localca.New("tshx kube proxy", now)
	if err != nil {
		return Access{}, nil, err
	}
	server, err := ca.Server(serverDomain, append([]string{"*." + serverDomain}, hosts...))
	if err != nil {
		return Access{}, nil, err
	}
	access := Access{CA: ca.PEM()}
	if access.Cert, access.Key, err = ca.Client("tshx kube client"); err != nil {
		return Access{}, nil, err
	}
	cfg := localca.ServerTLS(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return server, nil })
	cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	return access, cfg, nil
}
