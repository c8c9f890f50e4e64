package proxyserver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

const subsystemPrefix = "proxy:"

// target is what a proxy: subsystem names.
type target struct {
	Host    string
	Port    string // "0" if the proxy is to find the node by name
	Cluster string // empty: the proxy's own
}

// parseTarget reads proxy:host:port, proxy:host:port@cluster and the legacy
// proxy:host:port@namespace@cluster.
func parseTarget(subsystem string) (target, error) {
	rest, ok := strings.CutPrefix(subsystem, subsystemPrefix)
	if !ok {
		return target{}, fmt.Errorf("unknown subsystem %q", subsystem)
	}
	parts := strings.Split(rest, "@")
	if len(parts) > 3 {
		return target{}, fmt.Errorf("malformed subsystem %q", subsystem)
	}
	t := target{Host: parts[0], Port: "0"}
	if len(parts) > 1 {
		t.Cluster = parts[len(parts)-1]
	}
	if t.Host == "" {
		return t, errors.New("this proxy offers no way to the auth service")
	}
	if host, port, err := net.SplitHostPort(t.Host); err == nil {
		t.Host, t.Port = host, port
	}
	if t.Port == "" {
		t.Port = "0"
	}
	if _, err := strconv.ParseUint(t.Port, 10, 16); err != nil {
		return t, fmt.Errorf("malformed port in subsystem %q", subsystem)
	}
	if t.Host == "" {
		return t, fmt.Errorf("no host in subsystem %q", subsystem)
	}
	return t, nil
}

// channelConn is a session channel as a net.Conn. Close says that all went
// well; closing NetConn instead, as conn.Abort does, ends the channel without
// an exit status.
type channelConn struct{ bareChannel }

func (c *channelConn) Close() error {
	exit(c.Channel, 0)
	return c.Channel.Close()
}

// NetConn returns the bare channel.
func (c *channelConn) NetConn() net.Conn { return c.bareChannel }

// bareChannel is a channel with the addresses of its connection. Channels have
// no deadlines.
type bareChannel struct {
	ssh.Channel
	meta ssh.ConnMetadata
}

// Read drops an error that comes with bytes: it is that of asking the client for
// more, which fails once the client has left, while there may be more to read.
func (c bareChannel) Read(p []byte) (int, error) {
	n, err := c.Channel.Read(p)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (c bareChannel) LocalAddr() net.Addr              { return c.meta.LocalAddr() }
func (c bareChannel) RemoteAddr() net.Addr             { return c.meta.RemoteAddr() }
func (c bareChannel) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (c bareChannel) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (c bareChannel) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
