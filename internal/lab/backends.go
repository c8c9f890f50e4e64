package lab

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/gorilla/websocket"

	"tshx/internal/accept"
	"tshx/internal/conn"
	"tshx/internal/proxyserver"
)

// startBackends starts what is built in and lists all backends in o.
func (l *Lab) startBackends(o *proxyserver.Options) error {
	for _, n := range l.config.Nodes {
		if n.Addr == "" && !n.Agent {
			node, err := newNode(l.Authority, n.Name, l.log)
			if err != nil {
				return err
			}
			if n.Addr, err = l.backend(node.serve); err != nil {
				return err
			}
		}
		o.Nodes = append(o.Nodes, proxyserver.Node{Name: n.Name, Addr: n.Addr})
	}
	for _, db := range l.config.Databases {
		if db.Addr == "" && !db.Agent {
			var err error
			if db.Addr, err = l.builtinRedis(); err != nil {
				return fmt.Errorf("start redis: %w", err)
			}
		}
		o.Databases = append(o.Databases, proxyserver.Database{Name: db.Name, Protocol: db.Protocol, Addr: db.Addr})
	}
	for _, a := range l.config.Apps {
		u, err := url.Parse(a.URI)
		if err != nil {
			return err
		}
		if u.Host == "" && a.AWS == nil && !a.Agent {
			if u.Host, err = l.builtinApp(a.Name, u.Scheme); err != nil {
				return err
			}
		}
		app := proxyserver.App{Name: a.Name, URI: u.String(), PublicAddr: appAddr(a.Name), Cloud: a.cloud()}
		if a.AWS != nil {
			app.URI = cmp.Or(a.URI, awsConsole)
			app.AWS = &proxyserver.AWS{
				AccessKeyID: a.AWS.AccessKeyID, SecretAccessKey: a.AWS.SecretAccessKey, SessionToken: a.AWS.SessionToken,
				Region: a.AWS.Region, Endpoints: a.AWS.Endpoints,
			}
		}
		o.Apps = append(o.Apps, app)
	}
	for _, k := range l.config.Kube {
		open := k.backend
		switch {
		case k.Agent:
			open = func() (proxyserver.Kube, error) { return proxyserver.Kube{Name: k.Name}, nil }
		case k.Kubeconfig == "":
			open = func() (proxyserver.Kube, error) { return l.builtinKube(k.Name) }
		}
		kube, err := open()
		if err != nil {
			return err
		}
		o.Kubes = append(o.Kubes, kube)
	}
	return nil
}

// builtinRedis starts a Redis and returns its address.
func (l *Lab) builtinRedis() (string, error) {
	redis := miniredis.NewMiniRedis()
	if err := redis.Start(); err != nil {
		return "", err
	}
	l.closers = append(l.closers, func() error { redis.Close(); return nil })
	// It answers each form of COMMAND with the list of all, at which an interactive
	// redis-cli, which asks for COMMAND DOCS, aborts. Without documentation it asks
	// for the list instead.
	redis.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
		if cmd != "COMMAND" || len(args) == 0 {
			return false
		}
		c.WriteError("ERR unknown subcommand '" + args[0] + "'")
		return true
	})
	return redis.Addr(), nil
}

// appAddr is the public address of an app.
func appAddr(name string) string { return name + "." + host }

// backend serves connections on a port of its own and returns the address.
func (l *Lab) backend(serve func(net.Conn)) (string, error) {
	ln, err := listen("")
	if err != nil {
		return "", err
	}
	set := new(accept.Set)
	l.running.Go(func() {
		accept.Loop(l.ctx, ln, func(c net.Conn) { set.Go(c, serve) })
	})
	l.closers = append(l.closers, ln.Close, func() error { set.Close(); set.Wait(); return nil })
	return ln.Addr().String(), nil
}

func (l *Lab) builtinApp(name, scheme string) (string, error) {
	if scheme == "tcp" {
		return l.backend(echo)
	}
	return l.web(page(name))
}

// web serves requests on a port of its own and returns the address. They end with
// the lab.
func (l *Lab) web(h http.Handler) (string, error) {
	ln, err := listen("")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h, BaseContext: func(net.Listener) context.Context { return l.ctx }}
	l.running.Go(func() { srv.Serve(ln) })
	l.closers = append(l.closers, srv.Close)
	return ln.Addr().String(), nil
}

// echo sends back what it gets, and ends when the client has.
func echo(c net.Conn) {
	defer c.Close()
	if _, err := io.Copy(c, c); err == nil {
		conn.CloseWrite(c)
	}
}

// page is a small web application: / greets and shows the request, POST /echo
// answers with the body, /ws echoes WebSocket messages.
func page(name string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "Hello from %s.\n\n%s %s\n", name, r.Method, r.URL)
		r.Header.Set("Host", r.Host)
		r.Header.Write(w)
	})
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		io.Copy(w, r.Body)
	})
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{CheckOrigin: func(r *http.Request) bool { return strings.HasSuffix(r.Host, host) || r.Header.Get("Origin") == "" }}
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			kind, m, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, m) != nil {
				return
			}
		}
	})
	return mux
}
