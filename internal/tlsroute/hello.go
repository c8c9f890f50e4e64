package tlsroute

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"tshx/internal/conn"
)

// HelloTimeout bounds the wait for a complete ClientHello. UpgradedHelloTimeout is
// that of a Mux inside of an upgrade, where people who test with curl want to see
// pings before there is any hello (docs/protocol.md, "Response").
const (
	HelloTimeout         = 5 * time.Second
	UpgradedHelloTimeout = 2 * time.Minute
)

// ErrPostgres says that a client asks for TLS in the manner of PostgreSQL.
var ErrPostgres = errors.New("a request of PostgreSQL in place of a client hello")

// pgSSLRequest begins that request; what follows has no room in the header of a
// TLS record (PostgreSQL documentation, "Message Formats").
var pgSSLRequest = []byte{0, 0, 0, 8, 4}

// Hello is what a ClientHello says that routing needs.
type Hello struct {
	ServerName string   // SNI; empty if not sent
	ALPN       []string // protocol names in the client's order
}

// ReadHello reads a ClientHello from c, for at most HelloTimeout, and returns
// what it says together with a connection that yields the same bytes again. It
// writes nothing to c: who finds no handler for a hello may end the connection
// without a TLS alert, as proxies do.
//
// On error the caller still has to close c, whose read bytes are lost, except
// that ErrPostgres comes with a connection that yields them again.
func ReadHello(c net.Conn) (Hello, net.Conn, error) { return readHello(c, HelloTimeout) }

func readHello(c net.Conn, within time.Duration) (Hello, net.Conn, error) {
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		return Hello{}, nil, fmt.Errorf("read client hello: %w", err)
	}
	rec := &recorder{Conn: c}
	h, err := parseHello(rec)
	if err != nil && bytes.HasPrefix(rec.seen, pgSSLRequest) {
		return Hello{}, conn.Buffered(c, rec.seen), ErrPostgres
	}
	if err != nil {
		return Hello{}, nil, fmt.Errorf("read client hello: %w", err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return Hello{}, nil, fmt.Errorf("read client hello: %w", err)
	}
	return h, conn.Buffered(c, rec.seen), nil
}

// errHelloSeen stops the TLS server once it has parsed the hello.
var errHelloSeen = errors.New("client hello seen")

// parseHello leaves the parsing to the TLS server of the standard library, so
// that routing and handshake can never disagree about what a hello says.
func parseHello(c net.Conn) (Hello, error) {
	var h Hello
	err := tls.Server(c, &tls.Config{
		GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			h = Hello{ServerName: info.ServerName, ALPN: slices.Clone(info.SupportedProtos)}
			return nil, errHelloSeen
		},
	}).Handshake()
	if !errors.Is(err, errHelloSeen) {
		return Hello{}, err
	}
	return h, nil
}

// recorder keeps what is read and drops what is written, which is the alert
// about the handshake that parseHello breaks off.
type recorder struct {
	net.Conn
	seen []byte
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.seen = append(r.seen, p[:n]...)
	return n, err
}

func (r *recorder) Write(p []byte) (int, error)      { return len(p), nil }
func (r *recorder) Close() error                     { return nil }
func (r *recorder) SetDeadline(time.Time) error      { return nil }
func (r *recorder) SetReadDeadline(time.Time) error  { return nil }
func (r *recorder) SetWriteDeadline(time.Time) error { return nil }
