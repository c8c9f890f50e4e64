package proxyserver

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"time"

	"tshx/internal/accept"
	"tshx/internal/conn"
	"tshx/internal/identity"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// Timeouts of the web server, those of the real proxy.
const (
	readHeaderTimeout = 30 * time.Second
	idleTimeout       = 30 * time.Second
)

// makeWeb sets up the web server. It gets its connections from the Mux, as
// *tls.Conn, which is what lets net/http speak h2 on them.
func (s *Server) makeWeb() {
	up := &upgrade.Handler{
		Serve:        s.serveUpgraded,
		NoWebSocket:  s.opts.Behavior.NoWebSocket,
		NoLegacy:     s.opts.Behavior.NoLegacy,
		PingInterval: s.opts.PingInterval,
		Log:          s.log,
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+upgrade.Path, up)
	mux.Handle("GET "+upgrade.PathV1, up)
	mux.HandleFunc("GET /webapi/ping", s.servePing)
	mux.HandleFunc("GET /webapi/ping/{connector}", s.servePing)
	mux.HandleFunc("GET /webapi/find", s.serveFind)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, "no such path: "+r.URL.Path)
	})
	s.makePortal()
	s.web = accept.NewQueue(&net.TCPAddr{})
	s.http = &http.Server{
		Handler:           s.forwardedFor(s.appsFirst(s.portal.Handler(mux))),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return withClient(ctx, c)
		},
	}
}

func (s *Server) serveWeb(ctx context.Context, c net.Conn, _ tlsroute.Info) {
	if t, ok := c.(*conn.TLS); ok {
		c = t.Conn
	}
	s.web.Put(ctx, c)
}

// serveUpgraded feeds the stream of an upgrade into the router like a new
// connection. Inside, the host certificate takes the place of the public one.
func (s *Server) serveUpgraded(ctx context.Context, c net.Conn) {
	s.mux.ServeConn(ctx, c, s.hostTLS)
}

// appsFirst sends requests with an app certificate to their app, whatever the
// path, and all others to next.
func (s *Server) appsFirst(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			next.ServeHTTP(w, r)
			return
		}
		id := identity.FromName(r.TLS.PeerCertificates[0].Subject)
		if !id.App.Present() {
			next.ServeHTTP(w, r)
			return
		}
		s.serveHTTPApp(w, r, id)
	})
}

// writeJSON answers with v. An error of the write shows on the connection.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// writeError answers with an error in the form of the real proxy.
func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]any{"error": map[string]string{"message": message}})
}
