//go:build linux

package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
)

// SSHDOptions are the keys of an SSH node, as the contents of its files.
type SSHDOptions struct {
	HostKey         []byte // private key, in any form that sshd reads
	HostCertificate []byte // its certificate by the host CA, one line
	UserCA          []byte // public key that signs user certificates, one line
}

// StartSSHD runs an OpenSSH server that takes user certificates for the user
// of this process (any user when it is root) and shows a host certificate.
func StartSSHD(o SSHDOptions) (*Server, error) {
	if err := FindAll("sshd"); err != nil {
		return nil, err
	}
	return blueprint{
		name: "sshd",
		prepare: func(dir string) error {
			if os.Geteuid() == 0 {
				// The directory for privilege separation is fixed at compile time.
				if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
					return err
				}
			}
			_, err1 := write(dir, "host_key", string(o.HostKey), 0o600)
			_, err2 := write(dir, "host_key-cert.pub", string(o.HostCertificate), 0o644)
			_, err3 := write(dir, "user_ca.pub", string(o.UserCA), 0o644)
			return errors.Join(err1, err2, err3)
		},
		argv: func(dir string, addrs []string) ([]string, error) {
			conf, err := write(dir, "sshd_config", fmt.Sprintf(sshdConfig, portOf(addrs[0]), dir), 0o600)
			return []string{"sshd", "-D", "-e", "-f", conf}, err
		},
		ready: greets,
	}.start()
}

const sshdConfig = `ListenAddress 127.0.0.1:%[1]s
HostKey %[2]s/host_key
HostCertificate %[2]s/host_key-cert.pub
TrustedUserCAKeys %[2]s/user_ca.pub
AuthorizedKeysFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
UsePAM no
StrictModes no
UseDNS no
PrintMotd no
PrintLastLog no
PidFile none
MaxStartups 200
MaxSessions 200
AllowTcpForwarding yes
AllowAgentForwarding yes
Subsystem sftp internal-sftp
LogLevel VERBOSE
`

// greets waits for the SSH identification line.
func greets(ctx context.Context, addrs []string) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addrs[0])
	if err != nil {
		return err
	}
	defer c.Close()
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if !strings.HasPrefix(string(b), "SSH-") {
		return fmt.Errorf("greeted with %q", b)
	}
	return nil
}
