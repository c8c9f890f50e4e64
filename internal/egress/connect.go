package egress

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"

	"golang.org/x/net/proxy"

	"tshx/internal/conn"
)

// maxAnswer bounds the header of a proxy's answer to CONNECT, in bytes.
const maxAnswer = 64 << 10

var errLongAnswer = errors.New("the answer's header is too long")

// connect asks the HTTP proxy behind c for a tunnel to addr (RFC 9110, section
// 9.3.6). Whoever opened c bounds the wait by closing it.
func connect(c net.Conn, via *via, addr string) (net.Conn, error) {
	req := &http.Request{
		Method: http.MethodConnect,
		URL:    &url.URL{}, // an empty one makes Host the request target
		Host:   addr,
		Header: http.Header{"User-Agent": {"tshx"}},
	}
	if via.user != nil {
		password, _ := via.user.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(via.user.Username() + ":" + password))
		req.Header.Set("Proxy-Authorization", "Basic "+basic)
	}
	if err := req.Write(c); err != nil {
		return nil, err
	}
	limited := &io.LimitedReader{R: c, N: maxAnswer}
	br := bufio.NewReader(limited)
	resp, err := http.ReadResponse(br, req)
	if err != nil {
		return nil, answerError(err, limited.N <= 0)
	}
	// Other 2xx answers are not accepted either (docs/protocol.md, "HTTP proxies").
	if resp.StatusCode != http.StatusOK {
		return nil, &statusError{code: resp.StatusCode, line: resp.Status}
	}
	ahead, _ := br.Peek(br.Buffered())
	return conn.Buffered(c, ahead), nil
}

func answerError(err error, tooLong bool) error {
	switch {
	case tooLong:
		return errLongAnswer
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("closed the connection without an answer")
	}
	return err
}

// dialSOCKS connects through a SOCKS5 proxy (RFC 1928, RFC 1929), which looks
// up the name itself.
func (d *Dialer) dialSOCKS(ctx context.Context, via *via, network, addr string) (net.Conn, error) {
	var auth *proxy.Auth
	if via.user != nil && via.user.Username() != "" {
		password, _ := via.user.Password()
		auth = &proxy.Auth{User: via.user.Username(), Password: password}
	}
	fwd := &forward{d: d}
	sd, err := proxy.SOCKS5(network, via.addr, auth, fwd)
	if err != nil {
		return nil, err
	}
	if _, err := sd.(proxy.ContextDialer).DialContext(ctx, network, addr); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		// The operation repeats both addresses; its cause is what is new.
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
			err = op.Err
		}
		return nil, err
	}
	// The wrapper that x/net returns hides CloseWrite, and it adds nothing:
	// SOCKS answers are read to the byte.
	return fwd.c, nil
}

// forward reaches the SOCKS proxy itself and remembers the connection.
type forward struct {
	d *Dialer
	c net.Conn
}

func (f *forward) Dial(network, addr string) (net.Conn, error) {
	return f.DialContext(context.Background(), network, addr)
}

func (f *forward) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := f.d.tcp(ctx, network, addr)
	f.c = c
	return c, err
}
