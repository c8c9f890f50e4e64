package proxyserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"tshx/internal/accept"
)

// KubeAgent is the end of reverse tunnels to one Kubernetes cluster: an HTTP
// server beside it, which sends the requests of the proxy on with what the agent
// logs in with. As whom they are made the proxy has decided, and the tunnel is
// what vouches for that.
type KubeAgent struct {
	backend *kubeBackend
	queue   *accept.Queue
	http    *http.Server
	end     context.CancelFunc
}

// NewKubeAgent starts the server of one cluster. Close ends it.
func NewKubeAgent(k Kube, log *slog.Logger) (*KubeAgent, error) {
	if k.Server == "" {
		return nil, errors.New("an agent needs to know where the kubernetes cluster is")
	}
	a := &KubeAgent{queue: accept.NewQueue(&net.TCPAddr{})}
	a.http = &http.Server{
		Handler:           a,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       2 * idleTimeout, // the proxy is to be the first to give up a connection
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	s := &Server{log: log, http: a.http}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	a.end = s.cancel
	var err error
	if a.backend, err = s.newKubeBackend(k); err != nil {
		a.end()
		return nil, err
	}
	go a.http.Serve(a.queue)
	return a, nil
}

// ServeConn serves a stream of a tunnel and owns it.
func (a *KubeAgent) ServeConn(ctx context.Context, c net.Conn) { a.queue.Put(ctx, c) }

// Close ends all connections.
func (a *KubeAgent) Close() {
	a.queue.Close()
	a.end() // before what it cuts can look like an answer that has ended
	a.http.Close()
	a.backend.close()
}

// ServeHTTP sends a request on.
func (a *KubeAgent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	as := make(http.Header)
	for name, values := range r.Header {
		if strings.HasPrefix(name, impersonatePrefix) {
			as[name] = values
		}
	}
	if as.Get(impersonateUser) == "" { // it would be made as the agent itself
		writeStatus(w, forbidden("the proxy does not say whose request this is"))
		return
	}
	if ip := net.ParseIP(r.Header.Get(headerForwardedFor)); ip != nil {
		r = r.WithContext(withClientAddr(r.Context(), &net.TCPAddr{IP: ip}))
	}
	a.backend.forward(r, r.URL.EscapedPath(), as).serve(w)
}
