package main

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"tshx/internal/localproxy"
	"tshx/internal/sockets"
)

// portTries is how many ports of a resource are tried before any free one is
// taken.
const portTries = 16

// portRange is where default ports are taken from. Zero turns them off. The
// default one is below the ports that systems give out themselves (from 32768
// on Linux, 49152 elsewhere) and below the node ports of Kubernetes (30000).
type portRange struct {
	low, high uint16
}

// UnmarshalText reads LOW-HIGH, off or 0.
func (r *portRange) UnmarshalText(text []byte) error {
	*r = portRange{}
	s := string(text)
	if s == "off" || s == "0" {
		return nil
	}
	low, high, _ := strings.Cut(s, "-")
	l, lerr := strconv.ParseUint(low, 10, 16)
	h, herr := strconv.ParseUint(high, 10, 16)
	if lerr != nil || herr != nil || l == 0 || h < l {
		return fmt.Errorf("%q is not a range of ports, LOW-HIGH, or off", s)
	}
	*r = portRange{uint16(l), uint16(h)}
	return nil
}

// port returns the nth port that a resource tries. It depends on nothing else.
// docs/scripting.md describes the rule for those who compute it themselves.
func (r portRange) port(resource []string, n int) uint16 {
	name := strings.Join(append(resource[:len(resource):len(resource)], strconv.Itoa(n)), "\n")
	sum := sha256.Sum256([]byte(name))
	size := uint64(r.high) - uint64(r.low) + 1
	return r.low + uint16(binary.BigEndian.Uint64(sum[:8])%size)
}

// resource names what is served, for its port: the proxy's host, the cluster,
// the kind, the name in the cluster, and whose port it is, because users who
// share a machine may share resources.
func (l *login) resource(kind, name string) []string {
	host, _, err := net.SplitHostPort(l.WebAddr)
	if err != nil {
		host = l.WebAddr
	}
	return []string{host, l.Cluster, kind, name, strconv.Itoa(os.Geteuid())}
}

// hostPort splits the address of a TCP listener, which is always well formed.
func hostPort(addr net.Addr) (host string, port int) {
	host, text, _ := net.SplitHostPort(addr.String())
	port, _ = strconv.Atoi(text)
	return host, port
}

// listen takes the first port of the resource that is free, and says so where
// that is not its own. One that another user has taken ends it with a
// *localproxy.PortSquattedError: going on would leave to that user the clients
// that are set up for it.
func (r portRange) listen(env *Env, host string, anywhere bool, resource []string) (net.Listener, error) {
	var first *localproxy.PortTakenError
	for n := range portTries {
		if r == (portRange{}) {
			break
		}
		ln, err := localproxy.Listen(net.JoinHostPort(host, strconv.Itoa(int(r.port(resource, n)))), anywhere)
		if err == nil {
			tookOther(env, first, ln)
			return ln, nil
		}
		var taken *localproxy.PortTakenError
		if !errors.As(err, &taken) {
			break // the host is at fault, or the system keeps the port for itself
		}
		if err := squatted(taken); err != nil {
			return nil, err
		}
		if first == nil {
			first = taken
		}
	}
	ln, err := localproxy.Listen(net.JoinHostPort(host, "0"), anywhere)
	if err == nil {
		tookOther(env, first, ln)
	}
	return ln, err
}

// squatted returns an error if another user listens on a port, where the system
// tells.
func squatted(taken *localproxy.PortTakenError) error {
	addr, err := net.ResolveTCPAddr("tcp", taken.Addr)
	if err != nil {
		return nil
	}
	if p, found := sockets.Holder(addr); found && p.Foreign(os.Geteuid()) {
		return &localproxy.PortSquattedError{Addr: taken.Addr, Holder: p.String()}
	}
	return nil
}

// tookOther says that a resource did not get its own port, and why.
func tookOther(env *Env, first *localproxy.PortTakenError, ln net.Listener) {
	if first == nil {
		return
	}
	_, port := hostPort(ln.Addr())
	say(env, fmt.Sprintf("%v; using port %d instead", withHolder(first), port))
}
