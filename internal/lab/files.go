package lab

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/crypto/ssh"
)

// WriteWebCA writes the authority of the certificates that the proxy and the
// balancer show, as a PEM file for --ca-file.
func (l *Lab) WriteWebCA(path string) error { return write(path, modePublic, l.Authority.Web.PEM()) }

// NodeFiles are what an OpenSSH server needs to be a node of the cluster.
type NodeFiles struct {
	HostKey     string // for HostKey in sshd_config
	HostCert    string // for HostCertificate
	UserCA      string // for TrustedUserCAKeys
	ConfigLines string // the three as a piece of sshd_config
}

// WriteNodeFiles makes the host key and certificate of a node that is not built
// in, and writes them to dir.
func (l *Lab) WriteNodeFiles(dir, name string) (NodeFiles, error) {
	key, cert, err := l.Authority.SSHHostKey("Node", name, name+"."+l.config.Cluster)
	if err != nil {
		return NodeFiles{}, err
	}
	keyPEM, err := marshalKey(key, true)
	if err != nil {
		return NodeFiles{}, err
	}
	f := NodeFiles{
		HostKey:  filepath.Join(dir, "ssh_host_key"),
		HostCert: filepath.Join(dir, "ssh_host_key-cert.pub"),
		UserCA:   filepath.Join(dir, "user_ca.pub"),
	}
	f.ConfigLines = fmt.Sprintf("HostKey %s\nHostCertificate %s\nTrustedUserCAKeys %s\n", f.HostKey, f.HostCert, f.UserCA)
	return f, errors.Join(
		write(f.HostKey, modeSecret, keyPEM),
		write(f.HostCert, modePublic, ssh.MarshalAuthorizedKey(cert)),
		write(f.UserCA, modePublic, ssh.MarshalAuthorizedKey(l.Authority.SSHUser.PublicKey())),
		write(filepath.Join(dir, "sshd_config.part"), modePublic, []byte(f.ConfigLines)),
	)
}
