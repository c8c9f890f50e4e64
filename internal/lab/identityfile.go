package lab

import (
	"cmp"
	"encoding/pem"
	"fmt"
	"slices"

	"golang.org/x/crypto/ssh"

	"tshx/internal/identity"
	"tshx/internal/proxyserver"
)

// WriteIdentityFile writes a login as the one file that -i takes: the key, both
// certificates and the authorities.
func (l *Lab) WriteIdentityFile(path string, o HomeOptions) error {
	lg := l.login(o)
	b, err := lg.identityFile()
	if err != nil {
		return fmt.Errorf("write identity file %s: %w", path, err)
	}
	return write(path, modeSecret, b)
}

func (lg *login) identityFile() ([]byte, error) {
	id, err := lg.route()
	if err != nil {
		return nil, err
	}
	key, err := lg.lab.keys.get(cmp.Or(lg.o.Algorithm, proxyserver.RSA), lg.o.FreshKey)
	if err != nil {
		return nil, err
	}
	keyPEM, err := lg.marshalKey(key, false)
	if err != nil {
		return nil, err
	}
	sshCert, err := lg.signer.IssueSSH(lg.request(key, identity.Identity{}))
	if err != nil {
		return nil, err
	}
	der, err := lg.signer.IssueTLS(lg.request(key, id))
	if err != nil {
		return nil, err
	}
	return slices.Concat(keyPEM, ssh.MarshalAuthorizedKey(sshCert),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		lg.hostKeyLine(host), lg.trust.Host.PEM()), nil
}

// route is what the one X.509 certificate of an identity file opens.
func (lg *login) route() (identity.Identity, error) {
	switch {
	case lg.o.App != "":
		for _, a := range lg.lab.config.Apps {
			if a.Name == lg.o.App {
				return lg.appRoute(a), nil
			}
		}
		return identity.Identity{}, fmt.Errorf("%w: %q", proxyserver.ErrUnknownApp, lg.o.App)
	case lg.o.Kube != "":
		for _, k := range lg.lab.config.Kube {
			if k.Name == lg.o.Kube {
				return kubeRoute(k.Name), nil
			}
		}
		return identity.Identity{}, fmt.Errorf("%w: %q", proxyserver.ErrUnknownKube, lg.o.Kube)
	case lg.o.Database == "":
		return identity.Identity{}, nil
	}
	for _, db := range lg.lab.config.Databases {
		if db.Name == lg.o.Database {
			return lg.dbRoute(db), nil
		}
	}
	return identity.Identity{}, fmt.Errorf("%w: %q", proxyserver.ErrUnknownDatabase, lg.o.Database)
}
