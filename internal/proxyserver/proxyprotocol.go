package proxyserver

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/pires/go-proxyproto"

	"tshx/internal/conn"
)

// ProxyProtocol says what a Server does with PROXY protocol headers, by which
// layer-4 balancers tell whose connection they pass on (docs/protocol.md,
// "Server half details").
type ProxyProtocol string

const (
	// ProxyProtocolUnset takes connections with a header and without. As everybody
	// could have sent it, the client's port becomes 0, which is good for logs but not
	// for certificates that are pinned to an address.
	ProxyProtocolUnset ProxyProtocol = ""
	// ProxyProtocolOn demands a header on each connection.
	ProxyProtocolOn ProxyProtocol = "on"
	// ProxyProtocolOff refuses connections with a header.
	ProxyProtocolOff ProxyProtocol = "off"
)

// Valid reports whether p is one of the constants.
func (p ProxyProtocol) Valid() bool {
	return p == ProxyProtocolUnset || p == ProxyProtocolOn || p == ProxyProtocolOff
}

// proxyHeaderTimeout bounds the wait for a header, or for the first bytes of a
// connection without one.
const proxyHeaderTimeout = 5 * time.Second

var (
	errHeaderRefused = errors.New("a PROXY protocol header, and proxy_protocol is off")
	errHeaderMissing = errors.New("no PROXY protocol header, and proxy_protocol is on")
)

// client reads the PROXY protocol header, v1 or v2, with which c may begin. It
// returns the connection behind it, at the address of the client that the header
// names; what else a header says (TLVs) is not looked at. One that names no TCP
// client, as those of a balancer's own health checks, leaves the address as it is.
// On error c is still the caller's to close.
func (p ProxyProtocol) client(c net.Conn) (net.Conn, error) {
	if err := c.SetReadDeadline(time.Now().Add(proxyHeaderTimeout)); err != nil {
		return nil, fmt.Errorf("read PROXY protocol header: %w", err)
	}
	r := bufio.NewReader(c)
	whole(r)
	header, err := proxyproto.Read(r)
	missing := errors.Is(err, proxyproto.ErrNoProxyProtocol)
	switch {
	case missing && p == ProxyProtocolOn:
		return nil, errHeaderMissing
	case err != nil && !missing:
		return nil, fmt.Errorf("read PROXY protocol header: %w", err)
	case err == nil && p == ProxyProtocolOff:
		return nil, errHeaderRefused
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("read PROXY protocol header: %w", err)
	}
	ahead, _ := r.Peek(r.Buffered())
	if missing {
		return conn.Buffered(c, ahead), nil
	}
	return conn.Buffered(&proxied{Conn: c, remote: p.address(header, c.RemoteAddr())}, ahead), nil
}

// proxyV1Most is how long a header of version 1 may be, in bytes (PROXY protocol,
// section 2.1).
const proxyV1Most = 107

// whole waits for all of a header of version 1 that comes in pieces, which the
// library takes for an attack: this server bounds the time itself.
func whole(r *bufio.Reader) {
	for n := 1; n <= proxyV1Most; n++ {
		b, err := r.Peek(n)
		if err != nil || !bytes.HasPrefix(b, proxyproto.SIGV1[:min(n, len(proxyproto.SIGV1))]) || b[n-1] == '\n' {
			return // an error comes again
		}
	}
}

// address is the client's in a header, or else the one that was observed.
func (p ProxyProtocol) address(h *proxyproto.Header, observed net.Addr) net.Addr {
	from, ok := observed.(*net.TCPAddr)
	if named, isTCP := h.SourceAddr.(*net.TCPAddr); isTCP && !h.Command.IsLocal() {
		from, ok = named, true
	}
	if !ok {
		return observed
	}
	addr := *from
	if p == ProxyProtocolUnset {
		addr.Port = 0
	}
	return &addr
}

// proxied is a connection whose client a PROXY protocol header has named.
type proxied struct {
	net.Conn
	remote net.Addr
}

func (c *proxied) RemoteAddr() net.Addr { return c.remote }
func (c *proxied) CloseWrite() error    { return conn.CloseWrite(c.Conn) }

// NetConn returns the connection beneath, as tls.Conn.NetConn does.
func (c *proxied) NetConn() net.Conn { return c.Conn }

// Polled says that a temporary error of the connection beneath does no harm.
func (c *proxied) Polled() net.Conn { return c.Conn }
