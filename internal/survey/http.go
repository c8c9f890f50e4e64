package survey

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"tshx/internal/plain"
)

// pingPath answers without a login what a proxy is (docs/protocol.md, "Discovery").
const pingPath = "/webapi/ping"

// maxPing bounds what is read of the answer, in bytes.
const maxPing = 64 << 10

// Errors of the web API's answer.
var (
	errNoHTTP  = errors.New("no answer in HTTP")
	errNoProxy = errors.New("this is no access proxy")
)

// HTTP2Error says that a server speaks HTTP/2 to those who have not asked for it.
type HTTP2Error struct {
	Addr string
}

func (e *HTTP2Error) Error() string { return e.Addr + " answers HTTP/2 without being asked" }

// Hint says what to change.
func (e *HTTP2Error) Hint() string {
	return "let the balancer speak HTTP/1.1 too: HTTP/2 cannot switch protocols"
}

// NoProxyError is an answer of the web API that no access proxy gives.
type NoProxyError struct {
	Status int
	Server string // its Server header, may be empty
	To     string // where it redirects to, without the query; may be empty
}

func (e *NoProxyError) Error() string {
	s := fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
	if e.To != "" {
		s += " to " + e.To
	}
	if e.Server != "" {
		s += " (Server: " + e.Server + ")"
	}
	return s + ": " + errNoProxy.Error()
}

// Hint says what may be the matter.
func (e *NoProxyError) Hint() string {
	switch {
	case e.Status == http.StatusUnauthorized, e.Status >= 300 && e.Status < 400:
		return "a gateway in front wants a login of its own, or the proxy has another name: exempt /webapi/ from the gateway, or check the address"
	case e.Status == http.StatusTooManyRequests:
		return "a rate limit was hit: wait a minute"
	case e.Status == http.StatusBadGateway, e.Status == http.StatusServiceUnavailable, e.Status == http.StatusGatewayTimeout:
		return "the balancer cannot reach the proxy: check that the proxy runs and that the balancer speaks TLS to it"
	}
	return "check host and port, and that the balancer routes every path of this host to the proxy"
}

// http asks the web API what is there, in the way of an upgrade: HTTP/1.1, and no
// ALPN.
func (s *surveyor) http(ctx context.Context) finding {
	c, _, err := s.handshake(ctx, false)
	if err != nil {
		return finding{err: err}
	}
	defer c.Close()
	defer closeWith(ctx, c)()
	req := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: pingPath}, Host: s.Target.Addr,
		Header: http.Header{"User-Agent": {"tshx"}, "Connection": {"close"}}}
	if err := req.Write(c); err != nil {
		return finding{err: cause(ctx, err)}
	}
	br := bufio.NewReader(io.LimitReader(c, maxPing))
	if first, err := br.Peek(9); err == nil && isSettings(first) {
		return finding{err: &HTTP2Error{Addr: s.Target.Addr}, proves: "HTTP/2 only: connection upgrades need HTTP/1.1"}
	}
	resp, err := http.ReadResponse(br, req)
	switch {
	case ctx.Err() != nil:
		return finding{err: ctx.Err()}
	case err != nil:
		return finding{err: errNoHTTP, proves: "TLS, but no web server"}
	}
	defer resp.Body.Close()
	return s.answered(resp)
}

// isSettings reports whether a server begins with a SETTINGS frame, as those of
// HTTP/2 do (RFC 9113, sections 3.4 and 4.1).
func isSettings(frame []byte) bool {
	return frame[3] == 4 && frame[4] == 0 && frame[5]|frame[6]|frame[7]|frame[8] == 0
}

// cause prefers the reason for which a connection was closed.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (s *surveyor) answered(resp *http.Response) finding {
	no := &NoProxyError{Status: resp.StatusCode, Server: plain.Line(resp.Header.Get("Server"), 60)}
	s.note(func(r *Report) { r.Server = no.Server })
	if u, err := url.Parse(resp.Header.Get("Location")); err == nil {
		no.To = plain.Line((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String(), maxName)
	}
	var doc struct {
		Version string `json:"server_version"`
		Cluster string `json:"cluster_name"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); resp.StatusCode != http.StatusOK || err != nil || doc.Version == "" {
		return finding{err: no, proves: "a web server, and not the proxy's"}
	}
	p := &Proxy{Version: plain.Line(doc.Version, maxName), Cluster: plain.Line(doc.Cluster, maxName)}
	s.note(func(r *Report) { r.Proxy = p })
	result := fmt.Sprintf("access proxy %s, cluster %s", p.Version, p.Cluster)
	if no.Server != "" {
		result += " (Server: " + no.Server + ")"
	}
	return finding{result: result, proves: "the web requests of this host reach an access proxy"}
}
