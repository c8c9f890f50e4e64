package balancer

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"tshx/internal/accept"
	"tshx/internal/conn"
)

const headerForwardedFor = "X-Forwarded-For"

func (b *Balancer) startHTTP() {
	b.queue = accept.NewQueue(&net.TCPAddr{})
	b.plain = &http.Transport{
		DialTLSContext:    func(ctx context.Context, _, _ string) (net.Conn, error) { return b.dial(ctx) },
		DisableKeepAlives: b.opts.SendProxy, // a connection is one client's then
		IdleConnTimeout:   time.Minute,
	}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "https", Host: b.opts.Upstream})
			r.Out.Host = r.In.Host
			r.Out.Header[headerForwardedFor] = r.In.Header[headerForwardedFor]
		},
		Transport: b.plain,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			b.log.Info("upstream failed", "remote", r.RemoteAddr, "err", err)
			b.answer(w, http.StatusBadGateway)
		},
	}
	b.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b.forwardedFor(r)
			switch wants := isUpgrade(r.Header); {
			case wants && b.passes(r.Header):
				b.upgrade(w, r)
				return
			case wants && b.opts.Refuse != 0:
				b.answer(w, b.opts.Refuse)
				return
			}
			r.Header.Del("Upgrade")
			forward.ServeHTTP(w, r)
		}),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return withClient(ctx, c.RemoteAddr())
		},
		ReadHeaderTimeout: handshakeTimeout,
		IdleTimeout:       b.opts.Idle,
		BaseContext:       func(net.Listener) context.Context { return b.ctx },
		ErrorLog:          slog.NewLogLogger(b.log.Handler(), slog.LevelDebug),
	}
	b.done.Go(func() { b.http.Serve(b.queue) })
}

func isUpgrade(h http.Header) bool {
	return httpguts.HeaderValuesContainsToken(h["Connection"], "upgrade") && len(h["Upgrade"]) > 0
}

func (b *Balancer) passes(h http.Header) bool {
	switch b.opts.Upgrades {
	case UpgradesNone:
		return false
	case UpgradesWebSocket:
		return strings.EqualFold(h.Get("Upgrade"), "websocket")
	}
	return true
}

// forwardedFor adds the client's address to the request, as balancers do.
func (b *Balancer) forwardedFor(r *http.Request) {
	ip, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return
	}
	list := strings.Join(append(r.Header.Values(headerForwardedFor), ip), ", ")
	r.Header[headerForwardedFor] = []string{list}
	if b.opts.TwoForwardedFor {
		r.Header[headerForwardedFor] = []string{list, list}
	}
}

// answer is what the balancer says itself.
func (b *Balancer) answer(w http.ResponseWriter, status int) {
	text := fmt.Sprintf("%d %s", status, http.StatusText(status))
	if b.opts.ServerName != "" {
		w.Header().Set("Server", b.opts.ServerName)
	}
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<html><head><title>%s</title></head><body><h1>%s</h1></body></html>\n", text, text)
}

// upgrade passes a request on with all its Upgrade headers and joins the two
// connections if the proxy switches protocols. What either side has sent ahead
// is kept.
func (b *Balancer) upgrade(w http.ResponseWriter, r *http.Request) {
	up, err := b.dial(r.Context())
	if err == nil {
		up.SetDeadline(time.Now().Add(handshakeTimeout))
		if err = r.Write(up); err != nil {
			up.Close()
		}
	}
	if err != nil {
		b.log.Info("upstream failed", "remote", b.opts.Upstream, "err", err)
		b.answer(w, http.StatusBadGateway)
		return
	}
	br := bufio.NewReader(up)
	resp, err := http.ReadResponse(br, r)
	if err != nil {
		up.Close()
		b.answer(w, http.StatusBadGateway)
		return
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer up.Close()
		defer resp.Body.Close()
		maps.Copy(w.Header(), resp.Header)
		w.WriteHeader(resp.StatusCode)
		io.Copy(w, resp.Body)
		return
	}
	b.join(w, resp, up, br)
}

func (b *Balancer) join(w http.ResponseWriter, resp *http.Response, up net.Conn, br *bufio.Reader) {
	client, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		up.Close()
		b.answer(w, http.StatusInternalServerError)
		return
	}
	client.SetDeadline(time.Time{})
	up.SetDeadline(time.Time{})
	resp.Body = nil // of a 101 it is the stream
	if err := resp.Write(client); err != nil {
		client.Close()
		up.Close()
		return
	}
	b.splice(conn.Buffered(client, buffered(rw.Reader)), conn.Buffered(up, buffered(br)))
}

// buffered returns what r has read ahead.
func buffered(r *bufio.Reader) []byte {
	ahead, _ := r.Peek(r.Buffered())
	return ahead
}
