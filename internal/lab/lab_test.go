package lab

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"tshx/internal/balancer"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

func (h *client) dial(t *testing.T, kind string) (net.Conn, error) {
	t.Helper()
	r := map[string]tlsroute.Route{
		"redis": {ALPN: []string{"teleport-redis-ping", "teleport-redis"}},
		"tcp":   {ALPN: []string{"teleport-tcp-ping", "teleport-tcp"}},
		"http":  {ALPN: []string{"http/1.1"}},
	}[kind]
	cert, err := h.DBCert("cache")
	switch kind {
	case "tcp":
		cert, err = h.AppCert("echo")
	case "http":
		cert, err = h.AppCert("hello")
	}
	if err != nil {
		t.Fatal(err)
	}
	r.Certificate = func() (*tls.Certificate, error) { return cert, nil }
	return h.dialer.Dial(t.Context(), r)
}

// works uses each kind of route once.
func (h *client) works(t *testing.T, l *Lab) {
	t.Helper()
	s, err := h.ssh(t, l, "node1").NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := s.Output("echo ssh"); err != nil || string(out) != "ssh\n" {
		t.Errorf("ssh: %q, %v", out, err)
	}
	for _, tt := range []struct{ kind, send, want string }{
		{"redis", "*1\r\n$4\r\nPING\r\n", "+PONG\r\n"},
		{"redis", "*2\r\n$7\r\nCOMMAND\r\n$4\r\nDOCS\r\n", "-ERR unknown subcommand 'DOCS'\r\n"}, // of redis-cli
		{"tcp", "ding", "ding"},
		{"http", "GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n", "HTTP/1.1 200 OK\r\n"},
	} {
		c, err := h.dial(t, tt.kind)
		if err != nil {
			t.Errorf("%s: %v", tt.kind, err)
			continue
		}
		io.WriteString(c, tt.send)
		got := make([]byte, len(tt.want))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.kind, got, err, tt.want)
		}
		c.Close()
	}
}

func TestLab(t *testing.T) {
	for _, behave := range []string{"v14", "v17"} {
		for name, b := range map[string]*Balancer{
			"direct": nil, "layer 7": {}, "layer 4": {L4: true}, "unasked": {ALPN: balancer.ALPNUnasked}, "alert": {ALPN: balancer.ALPNAlert},
		} {
			t.Run(behave+" "+name, func(t *testing.T) {
				c := Demo()
				c.Behave, c.Balancer, c.KeyAlgorithm = behave, b, "ecdsa"
				l := start(t, c)
				addr := l.Addr
				if b != nil {
					addr = l.BalancerAddr
				}
				writeHome(t, l, addr, HomeOptions{}).works(t, l)
			})
		}
	}
}

// A balancer can come and go while clients hold on to the same address.
func TestPutBalancer(t *testing.T) {
	l := start(t, Demo())
	verdict := func(want string) {
		t.Helper()
		v := upgrade.Target{Addr: l.Addr, Roots: l.Authority.Web.Pool()}.Test(t.Context())
		if v.Evidence != want {
			t.Errorf("verdict %+v, want %s", v, want)
		}
	}
	verdict(upgrade.EvidenceNegotiated)
	for range 2 {
		if err := l.PutBalancer(balancer.Options{ALPN: balancer.ALPNAlert}); err != nil {
			t.Fatal(err)
		}
		verdict(upgrade.EvidenceAlert)
		l.RemoveBalancer()
		verdict(upgrade.EvidenceNegotiated)
	}
	if err := l.PutBalancer(balancer.Options{Refuse: 1}); err == nil {
		t.Error("accepted bad options")
	}
}

func TestCloseConns(t *testing.T) {
	l := start(t, Demo())
	c, err := writeHome(t, l, l.Addr, HomeOptions{}).dial(t, "tcp")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "x")
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	l.CloseConns()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
	verdict := upgrade.Target{Addr: l.Addr, Roots: l.Authority.Web.Pool()}.Test(t.Context())
	if verdict.Required || verdict.Evidence != upgrade.EvidenceNegotiated {
		t.Errorf("afterwards: %+v", verdict)
	}
}

func TestPage(t *testing.T) {
	l := start(t, Demo())
	c, err := writeHome(t, l, l.Addr, HomeOptions{}).dial(t, "http")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /echo HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: 4\r\nConnection: close\r\n\r\nding")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "ding" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestStartFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for name, c := range map[string]Config{
		"port taken":            {Listen: ln.Addr().String()},
		"balancer's port taken": {Balancer: &Balancer{Listen: ln.Addr().String()}},
		"bad balancer":          {Balancer: &Balancer{ALPN: "h3"}},
		"bad config":            {Behave: "v9"},
	} {
		if l, err := Start(t.Context(), c); err == nil {
			l.Close()
			t.Errorf("%s: started", name)
		}
	}
}

func TestEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l, err := Start(ctx, Demo())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := l.Close(); err != nil { // waits for the end
		t.Error(err)
	}
	if c, err := net.Dial("tcp", l.Addr); err == nil {
		c.Close()
		t.Error("still listening")
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		l, err := Start(b.Context(), Demo())
		if err != nil {
			b.Fatal(err)
		}
		l.Close()
	}
}
