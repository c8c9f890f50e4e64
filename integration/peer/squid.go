//go:build linux

package peer

import (
	"crypto/md5"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Squid is a running HTTP proxy with two listeners: Addr lets everybody
// CONNECT anywhere, AuthAddr only SquidUser with SquidPassword.
type Squid struct {
	*Server
	AuthAddr string
}

// The account of the authenticating listener. The password has characters
// that must be escaped in a URL.
const (
	SquidUser     = "alice"
	SquidPassword = "p@ss:w/rd"
)

// StartSquid runs Squid. hosts maps names to addresses for it alone.
func StartSquid(hosts map[string]string) (*Squid, error) {
	if err := FindAll("squid", "basic_ncsa_auth"); err != nil {
		return nil, err
	}
	auth, err := Find("basic_ncsa_auth")
	if err != nil {
		return nil, err
	}
	s, err := blueprint{
		name: "squid", ports: []int{0, 0},
		prepare: func(dir string) error { return prepareSquid(dir, hosts) },
		argv: func(dir string, addrs []string) ([]string, error) {
			conf, err := write(dir, "squid.conf", fmt.Sprintf(squidConfig, dir, addrs[0], addrs[1], auth), 0o644)
			// Its shared memory is named after the service.
			return []string{"squid", "-N", "-n", "tshx" + portOf(addrs[0]), "-f", conf}, err
		},
	}.start()
	if err != nil {
		return nil, err
	}
	return &Squid{Server: s, AuthAddr: s.Addrs[1]}, nil
}

const squidConfig = `http_port %[2]s name=open
http_port %[3]s name=auth
auth_param basic program %[4]s %[1]s/passwd
auth_param basic children 1 startup=1
acl on_open myportname open
acl known proxy_auth REQUIRED
acl connect method CONNECT
http_access deny !connect
http_access allow on_open
http_access allow known
http_access deny all
hosts_file %[1]s/hosts
cache deny all
cache_mem 8 MB
max_filedescriptors 4096
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname squid.tshx.test
pid_filename none
coredump_dir %[1]s/run
cache_log %[1]s/run/cache.log
access_log stdio:%[1]s/run/access.log
`

// AccessLog returns the path of the log with a line per ended request.
func (s *Squid) AccessLog() string { return filepath.Join(s.Dir, "run", "access.log") }

func prepareSquid(dir string, hosts map[string]string) error {
	var list strings.Builder
	for name, ip := range hosts {
		fmt.Fprintf(&list, "%s %s\n", ip, name)
	}
	// A bare MD5 sum is the form of a password that needs no crypt(3).
	account := fmt.Sprintf("%s:%x\n", SquidUser, md5.Sum([]byte(SquidPassword)))
	_, err1 := write(dir, "hosts", list.String(), 0o644)
	_, err2 := write(dir, "passwd", account, 0o644)
	run := filepath.Join(dir, "run")
	err3 := os.MkdirAll(run, 0o755)
	err4 := os.Chmod(run, 0o777) // Squid drops to a user of its choice
	return errors.Join(err1, err2, err3, err4)
}
