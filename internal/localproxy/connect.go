package localproxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"tshx/internal/conn"
)

// Bounds of what the client of a forward proxy has to say first.
const (
	// HelloTimeout is how long it may take for its CONNECT, then for the TLS
	// handshake, and then for the head of each request that it has begun.
	HelloTimeout = 10 * time.Second
	// refuseEnd is how long a refused client may take to end its side: data that
	// is still under way would reset the connection, and with it the answer.
	refuseEnd = time.Second
	// maxConnect bounds the CONNECT.
	maxConnect = 64 << 10
)

// Connect is what a client asks a forward proxy for (RFC 9110, section 9.3.6). It
// is to be granted or refused.
type Connect struct {
	Addr string // canonical

	client net.Conn
	early  []byte // came behind it
}

// Refusal is an answer to a client of a forward proxy that says no.
type Refusal struct {
	Code int
	Text string // one line
}

func (r *Refusal) Error() string { return r.Text }

// ReadConnect reads a CONNECT. clients says whom the proxy is for, in words to
// people. The error is conn.ErrClientGone, or a *Refusal that the client has been
// told: one who asks for something else.
func ReadConnect(client net.Conn, clients string) (*Connect, error) {
	client.SetDeadline(time.Now().Add(HelloTimeout))
	head := &io.LimitedReader{R: client, N: maxConnect}
	br := bufio.NewReader(head)
	r, err := http.ReadRequest(br)
	q := &Connect{client: client}
	var timeout net.Error
	switch {
	case errors.Is(err, io.EOF) && head.N > 0, conn.PeerGone(err), errors.As(err, &timeout) && timeout.Timeout():
		return nil, conn.ErrClientGone // having said nothing
	case err != nil, r.Method != http.MethodConnect:
		return nil, q.Refuse(http.StatusBadRequest, "this port is a forward proxy for "+clients+": it takes CONNECT only")
	}
	if q.Addr, err = Canonical(r.RequestURI); err != nil {
		return nil, q.Refuse(http.StatusBadRequest, "CONNECT needs a host and a port")
	}
	if q.early, err = br.Peek(br.Buffered()); err != nil {
		return nil, err
	}
	// What follows is up to others, who have bounds of their own.
	client.SetDeadline(time.Time{})
	return q, nil
}

// Grant returns the connection behind the CONNECT.
func (q *Connect) Grant() (net.Conn, error) {
	q.client.SetDeadline(time.Now().Add(HelloTimeout))
	if _, err := io.WriteString(q.client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return nil, conn.ErrClientGone
	}
	q.client.SetDeadline(time.Time{})
	return conn.Buffered(q.client, q.early), nil
}

// Refuse tells the client, and returns the *Refusal. The line is in the place of
// the standard phrase, too, since that is what Go programs show.
func (q *Connect) Refuse(code int, text string) error {
	q.client.SetDeadline(time.Now().Add(HelloTimeout))
	fmt.Fprintf(q.client, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
		code, text, len(text)+1, text)
	conn.CloseWrite(q.client)
	q.client.SetReadDeadline(time.Now().Add(refuseEnd))
	io.Copy(io.Discard, q.client)
	return &Refusal{code, text}
}

// Canonical is how the addresses of clients are compared: in lower case, without
// the dot at the end, and with a port, which is that of HTTPS if there is none.
func Canonical(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		host, port, err = net.SplitHostPort(addr + ":443")
	}
	if err != nil {
		return "", err
	}
	if host = strings.TrimSuffix(strings.ToLower(host), "."); host == "" || port == "" || strings.ContainsAny(host, "/@ ") {
		return "", fmt.Errorf("%q is no address", addr)
	}
	return net.JoinHostPort(host, port), nil
}
