package proxyserver

import (
	"crypto"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"
)

// Extensions of SSH certificates (docs/protocol.md, "X.509 identity" and "Host
// keys").
const (
	extRoles     = "teleport-roles"
	extTraits    = "teleport-traits"
	extRoute     = "teleport-route-to-cluster"
	extLoginIP   = "login-ip"
	extAuthority = "x-teleport-authority"
	extRole      = "x-teleport-role"
)

// IssueSSH issues the SSH certificate of a user: its principals are the
// identity's logins.
func (a *Authority) IssueSSH(r UserRequest) (*ssh.Certificate, error) {
	pub, err := ssh.NewPublicKey(r.Public)
	if err != nil {
		return nil, fmt.Errorf("sign ssh certificate for %s: %w", r.Identity.User, err)
	}
	roles, err := json.Marshal(map[string]any{"version": "v1", "roles": r.Identity.Roles})
	if err != nil {
		return nil, err
	}
	cert := &ssh.Certificate{
		Key:             pub,
		CertType:        ssh.UserCert,
		KeyId:           r.Identity.User,
		ValidPrincipals: r.Identity.Logins,
		ValidAfter:      uint64(r.notBefore().Unix()),
		ValidBefore:     uint64(r.NotAfter.Unix()),
		Permissions: ssh.Permissions{Extensions: map[string]string{
			"permit-agent-forwarding": "",
			"permit-port-forwarding":  "",
			"permit-pty":              "",
			extRoles:                  string(roles),
			extTraits:                 r.Identity.Traits,
			extRoute:                  r.Identity.RouteToCluster,
		}},
	}
	if r.Identity.LoginIP != "" {
		cert.Extensions[extLoginIP] = r.Identity.LoginIP
	}
	if err := cert.SignCert(rand.Reader, a.SSHUser); err != nil {
		return nil, fmt.Errorf("sign ssh certificate for %s: %w", r.Identity.User, err)
	}
	return cert, nil
}

// SSHHostSigner makes a host key with a certificate for the given names. Role
// is "Proxy" or "Node".
func (a *Authority) SSHHostSigner(role string, principals ...string) (ssh.Signer, error) {
	key, cert, err := a.SSHHostKey(role, principals...)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		return nil, err
	}
	return ssh.NewCertSigner(cert, signer)
}

// SSHHostKey is SSHHostSigner for servers that want the two apart.
func (a *Authority) SSHHostKey(role string, principals ...string) (crypto.Signer, *ssh.Certificate, error) {
	key, err := NewKey(a.Algorithm)
	if err != nil {
		return nil, nil, err
	}
	pub, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return nil, nil, err
	}
	cert := &ssh.Certificate{
		Key:             pub,
		CertType:        ssh.HostCert,
		KeyId:           principals[0],
		ValidPrincipals: unique(principals),
		ValidAfter:      uint64(time.Now().Add(-backdate).Unix()),
		ValidBefore:     uint64(time.Now().Add(caLifetime).Unix()),
		Permissions:     ssh.Permissions{Extensions: map[string]string{extAuthority: a.Cluster, extRole: role}},
	}
	if err := cert.SignCert(rand.Reader, a.SSHHost); err != nil {
		return nil, nil, fmt.Errorf("sign ssh host certificate for %s: %w", principals[0], err)
	}
	return key, cert, nil
}

// UserChecker verifies users' SSH certificates: authority, validity, principal.
func (a *Authority) UserChecker() *ssh.CertChecker {
	ca := string(a.SSHUser.PublicKey().Marshal())
	return &ssh.CertChecker{
		IsUserAuthority: func(key ssh.PublicKey) bool { return string(key.Marshal()) == ca },
	}
}
