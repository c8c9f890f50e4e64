package proxyserver

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"tshx/internal/conn"
	"tshx/internal/identity"
	"tshx/internal/reversetunnel"
)

const allRoles = "Node,Db,App,Kube"

// testAgent is a running agent.
type testAgent struct {
	stop func() // in order, and waits for the end
	cut  func() // its present connection
	up   chan string
	ask  chan reversetunnel.DialRequest
}

// agentOf runs an agent of the proxy with services whose connections serve takes.
func agentOf(t testing.TB, f *fixture, id string, serve func(net.Conn), list ...reversetunnel.Resource) *testAgent {
	t.Helper()
	signer, err := testAuthority().SSHHostSigner(allRoles, id, id+"."+testCluster)
	if err != nil {
		t.Fatal(err)
	}
	ta := &testAgent{up: make(chan string, 10), ask: make(chan reversetunnel.DialRequest, 100)}
	conns := make(chan net.Conn, 10)
	a := &reversetunnel.Agent{
		Dial: func(context.Context) (net.Conn, error) {
			c, err := tls.Dial("tcp", f.addr, config(testAuthority().Web.Pool(), nil, "teleport-reversetunnel"))
			if err != nil {
				return nil, err
			}
			conns <- c.NetConn()
			return c, nil
		},
		Identity: func() (reversetunnel.Identity, error) {
			return reversetunnel.Identity{HostID: id, Cluster: testCluster, Signer: signer,
				Authorities: []ssh.PublicKey{testAuthority().SSHHost.PublicKey()}}, nil
		},
		Up: func(id string) { ta.up <- id },
	}
	var to string
	if serve != nil {
		to = backend(t, serve)
	}
	for _, r := range list {
		a.Services = append(a.Services, reversetunnel.Service{Resource: r,
			Dial: func(ctx context.Context, q reversetunnel.DialRequest) (net.Conn, error) {
				select {
				case ta.ask <- q:
				default: // enough for any test
				}
				if to == "" {
					return nil, errors.New("nobody there")
				}
				return new(net.Dialer).DialContext(ctx, "tcp", to)
			}})
	}
	ta.run(t, a)
	ta.cut = func() { (<-conns).Close() }
	if got := waitFor(t, "the tunnel", ta.up); got != f.ID() {
		t.Errorf("the agent is at %q, not at %q", got, f.ID())
	}
	return ta
}

func (ta *testAgent) run(t testing.TB, a *reversetunnel.Agent) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	ta.stop = func() {
		cancel()
		if err, ok := <-ended; ok && err != nil {
			t.Errorf("agent: %v", err)
		}
		close(ended)
		ta.stop = func() {}
	}
	t.Cleanup(func() { ta.stop() })
}

func waitFor[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

func (f *fixture) redis(name string) net.Conn {
	return f.dial(newUser(f.t).tls(dbRoute(name, "redis")), "teleport-redis")
}

// A database, an application and a cluster that the proxy has no address of.
func TestAgentCarries(t *testing.T) {
	f := start(t, Options{
		Databases: []Database{{Name: "cache", Protocol: "redis"}},
		Apps:      []App{{Name: "echo", URI: "tcp://"}},
	})
	a := agentOf(t, f, "host1", echo, reversetunnel.Resource{Kind: kindDB, Name: "cache"}, reversetunnel.Resource{Kind: kindApp, Name: "echo"})
	c := f.redis("cache")
	if got := roundTrip(t, c, "hello"); got != "hello" {
		t.Errorf("the database answers %q", got)
	}
	want := reversetunnel.DialRequest{
		Address: "@local-node", ServerID: "host1." + testCluster, ConnType: "db", Version: "17.0.0",
		ClientSrc: c.LocalAddr().String(), ClientDst: f.Server.addr(), Resource: "cache",
	}
	if diff := cmp.Diff(want, <-a.ask); diff != "" {
		t.Errorf("asked for:\n%s", diff)
	}
	if got := roundTrip(t, f.dial(newUser(t).tls(appRoute("echo")), "teleport-tcp"), "app"); got != "app" {
		t.Errorf("the app answers %q", got)
	}
}

// An HTTP application through an agent, and what its users see without one.
func TestAgentHTTPApp(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s for %s", r.URL.Path, r.Header.Get("X-Forwarded-For"))
	}))
	defer web.Close()
	f := start(t, Options{Apps: []App{{Name: "hello", URI: "http://"}}})
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: config(testAuthority().Web.Pool(), newUser(t).tls(appRoute("hello")), "http/1.1")}}
	defer client.CloseIdleConnections()
	get := func() (int, string) {
		res, err := client.Get("https://" + f.addr + "/path")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	if status, body := get(); status != http.StatusBadGateway || !strings.Contains(body, ErrNoAgent.Error()) {
		t.Errorf("without an agent: %d %s", status, body)
	}
	a := agentOf(t, f, "host1", func(c net.Conn) {
		up, err := net.Dial("tcp", web.Listener.Addr().String())
		if err == nil {
			conn.Splice(context.Background(), c, up)
		}
	}, reversetunnel.Resource{Kind: kindApp, Name: "hello"})
	for range 3 {
		if status, body := get(); status != http.StatusOK || body != "/path for 127.0.0.1" {
			t.Errorf("with an agent: %d %s", status, body)
		}
	}
	began := time.Now()
	a.stop()
	if took := time.Since(began); took > 5*time.Second { // its patience is 10 s
		t.Errorf("the agent waited %v for a connection that is kept for the next request", took)
	}
	if status, body := get(); status != http.StatusBadGateway {
		t.Errorf("without an agent again: %d %s", status, body)
	}
}

// Kubernetes: the agent logs in, and it is not the proxy that could.
func TestAgentKube(t *testing.T) {
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s %s", r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("Impersonate-User"), r.Header.Get("X-Forwarded-For"))
		http.NewResponseController(w).Flush() // how much it is has to be told by its end
	}))
	defer api.Close()
	f := start(t, Options{Kubes: []Kube{{Name: "dev"}}})
	u := newUser(t)
	id := identity.Identity{KubeCluster: "dev", KubeUsers: []string{"bob"}, Usage: []string{identity.UsageKube}}
	cfg := config(testAuthority().Host.Pool(), u.tls(id), "http/1.1")
	cfg.ServerName = "kube-teleport-proxy-alpn.localhost"
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}}
	defer client.CloseIdleConnections()
	get := func() (int, string) {
		res, err := client.Get("https://" + f.addr + "/version")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Errorf("%q does not end in order: %v", b, err)
		}
		return res.StatusCode, string(b)
	}
	if status, body := get(); status != http.StatusBadGateway || !strings.Contains(body, ErrNoAgent.Error()) {
		t.Errorf("without an agent: %d %s", status, body)
	}
	k, err := NewKubeAgent(Kube{Name: "dev", Server: api.URL, Token: "secret", TLS: api.Client().Transport.(*http.Transport).TLSClientConfig}, f.log)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	signer, err := testAuthority().SSHHostSigner(allRoles, "host1")
	if err != nil {
		t.Fatal(err)
	}
	ta := &testAgent{up: make(chan string, 1)}
	ta.run(t, &reversetunnel.Agent{
		Dial: func(context.Context) (net.Conn, error) {
			return tls.Dial("tcp", f.addr, config(testAuthority().Web.Pool(), nil, "teleport-reversetunnel"))
		},
		Identity: func() (reversetunnel.Identity, error) {
			return reversetunnel.Identity{HostID: "host1", Cluster: testCluster, Signer: signer,
				Authorities: []ssh.PublicKey{testAuthority().SSHHost.PublicKey()}}, nil
		},
		Services: []reversetunnel.Service{{Resource: reversetunnel.Resource{Kind: kindKube, Name: "dev"}, Serve: k.ServeConn}},
		Up:       func(id string) { ta.up <- id },
	})
	waitFor(t, "the tunnel", ta.up)
	for range 3 {
		if status, body := get(); status != http.StatusOK || body != "/version Bearer secret bob 127.0.0.1" {
			t.Errorf("with an agent: %d %s", status, body)
		}
	}
}

// Without a user a request would be made as the agent itself.
func TestKubeAgentWantsUser(t *testing.T) {
	k, err := NewKubeAgent(Kube{Name: "dev", Server: "http://127.0.0.1:1", Token: "secret"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	w := httptest.NewRecorder()
	k.ServeHTTP(w, httptest.NewRequest("GET", "/version", nil))
	if w.Code != http.StatusForbidden {
		t.Errorf("answered %d", w.Code)
	}
	if _, err := NewKubeAgent(Kube{Name: "dev"}, k.backend.server.log); err == nil {
		t.Error("an agent of nothing was made")
	}
}

// Two agents of one resource: each takes some, the other takes over where one
// cannot, and at once when one is gone.
func TestAgentsShare(t *testing.T) {
	f := start(t, Options{Databases: []Database{{Name: "cache", Protocol: "redis"}}})
	cache := reversetunnel.Resource{Kind: kindDB, Name: "cache"}
	broken := agentOf(t, f, "host0", nil, cache)
	a := agentOf(t, f, "host1", echo, cache)
	b := agentOf(t, f, "host2", echo, cache)
	for range 60 {
		if got := roundTrip(t, f.redis("cache"), "x"); got != "x" {
			t.Fatalf("read %q", got)
		}
	}
	if len(a.ask) == 0 || len(b.ask) == 0 || len(broken.ask) == 0 {
		t.Errorf("asked %d, %d and %d times", len(a.ask), len(b.ask), len(broken.ask))
	}
	a.stop()
	for range 10 {
		if got := roundTrip(t, f.redis("cache"), "x"); got != "x" {
			t.Fatalf("after one has gone: read %q", got)
		}
	}
	b.cut()
	for range 10 {
		waitForOne(t, f)
	}
}

// waitForOne wants the way to work, now or as soon as a tunnel is back.
func waitForOne(t *testing.T, f *fixture) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		c := f.redis("cache")
		io.WriteString(c, "x")
		if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no tunnel came back")
		}
	}
}

// A stream whose tunnel is cut ends with an error at its client.
func TestAgentLost(t *testing.T) {
	f := start(t, Options{Databases: []Database{{Name: "cache", Protocol: "redis"}}})
	a := agentOf(t, f, "host1", echo, reversetunnel.Resource{Kind: kindDB, Name: "cache"})
	c := f.redis("cache")
	io.WriteString(c, "x")
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	a.cut()
	if b, err := io.ReadAll(c); err == nil {
		t.Errorf("read %q and an orderly end", b)
	}
	waitFor(t, "the next tunnel", a.up)
	waitForOne(t, f)
}

// client is a bare SSH client of the agents' port.
func (f *fixture) sshAgent(user string, signer ssh.Signer) (ssh.Conn, <-chan ssh.NewChannel, error) {
	c := f.dial(nil, "teleport-reversetunnel")
	sc, chans, reqs, err := ssh.NewClientConn(c, "", &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		HostKeyAlgorithms: reversetunnel.HostKeyAlgorithms,
	})
	if err != nil {
		return nil, nil, err
	}
	f.t.Cleanup(func() { sc.Close() })
	go ssh.DiscardRequests(reqs)
	return sc, chans, nil
}

// Only hosts of the cluster that serve something are agents.
func TestAgentAuthentication(t *testing.T) {
	f := start(t, Options{})
	a := testAuthority()
	other, err := NewAuthority(testCluster, ECDSA)
	if err != nil {
		t.Fatal(err)
	}
	foreign := *a
	foreign.Cluster = "other.example.com"
	host := func(a *Authority, role string, names ...string) ssh.Signer {
		s, err := a.SSHHostSigner(role, names...)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	u := newUser(t)
	cert, err := a.IssueSSH(u.request(identity.Identity{}))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := ssh.NewSignerFromSigner(u.key)
	if err != nil {
		t.Fatal(err)
	}
	userSigner, err := ssh.NewCertSigner(cert, plain)
	if err != nil {
		t.Fatal(err)
	}
	key, disguised, err := a.SSHHostKey("Node", "h")
	if err != nil {
		t.Fatal(err)
	}
	disguised.CertType = ssh.UserCert
	if err := disguised.SignCert(rand.Reader, a.SSHHost); err != nil {
		t.Fatal(err)
	}
	own, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	disguisedSigner, err := ssh.NewCertSigner(disguised, own)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		user   string
		signer ssh.Signer
		ok     bool
	}{
		"a node":                         {"h", host(a, "Node", "h"), true},
		"several roles":                  {"h", host(a, "Db,App", "h"), true},
		"a proxy":                        {"h", host(a, "Proxy", "h"), false},
		"no role":                        {"h", host(a, "", "h"), false},
		"another name":                   {"x", host(a, "Node", "h"), false},
		"another authority":              {"h", host(other, "Node", "h"), false},
		"another cluster":                {"h", host(&foreign, "Node", "h"), false},
		"a user":                         {"alice", userSigner, false},
		"a user by the hosts' authority": {"h", disguisedSigner, false},
		"a plain key":                    {"alice", plain, false},
	} {
		if _, _, err := f.sshAgent(tt.user, tt.signer); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the port of agents does not do, and what it answers.
func TestAgentPort(t *testing.T) {
	f := start(t, Options{ID: "proxy1", Peers: []string{"proxy2"}})
	signer, err := testAuthority().SSHHostSigner("Node", "h")
	if err != nil {
		t.Fatal(err)
	}
	c, chans, err := f.sshAgent("h", signer)
	if err != nil {
		t.Fatal(err)
	}
	var refused *ssh.OpenChannelError
	for _, kind := range []string{"session", "direct-tcpip", reversetunnel.ChannelTransport} {
		if _, _, err := c.OpenChannel(kind, nil); !errors.As(err, &refused) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if ok, v, err := c.SendRequest(reversetunnel.RequestVersion, true, nil); !ok || string(v) != "17.0.0" {
		t.Errorf("version: %v %q %v", ok, v, err)
	}
	serves := func(kind string) []byte {
		return reversetunnel.Announcement{Resources: []reversetunnel.Resource{{Kind: kind, Name: "x"}}}.Marshal()
	}
	if ok, why, err := c.SendRequest(reversetunnel.RequestResources, true, serves("db")); ok || !strings.Contains(string(why), `needs "Db"`) {
		t.Errorf("a node announced a database: %v %q %v", ok, why, err)
	}
	if ok, why, err := c.SendRequest(reversetunnel.RequestResources, true, serves("node")); !ok {
		t.Errorf("a node announced itself: %q %v", why, err)
	}
	want := []Resource{{Kind: "node", Name: "x", ByAgent: true, Agents: 1}}
	if diff := cmp.Diff(want, f.Resources()); diff != "" {
		t.Errorf("listed:\n%s", diff)
	}
	nc := waitFor(t, "the discovery", chans)
	_, reqs, err := nc.Accept()
	if err != nil || nc.ChannelType() != reversetunnel.ChannelDiscovery {
		t.Fatalf("%s: %v", nc.ChannelType(), err)
	}
	for _, want := range [][]string{{"proxy1", "proxy2"}, {"proxy1", "proxy3"}} {
		r := waitFor(t, "a list", reqs)
		ids, err := reversetunnel.ParseDiscovery(r.Payload)
		if diff := cmp.Diff(want, ids); err != nil || diff != "" {
			t.Errorf("proxies: %v\n%s", err, diff)
		}
		f.SetPeers([]string{"proxy3"})
	}
	c.Close()
	c.Wait()
	for deadline := time.Now().Add(20 * time.Second); len(f.Resources()) > 0; {
		if time.Now().After(deadline) {
			t.Fatal("what the agent served is still listed")
		}
		time.Sleep(time.Millisecond)
	}
}

// An agent that has stopped to ping is dropped, one that pings is not.
func TestHeartbeatsMissed(t *testing.T) {
	t.Parallel()
	const interval = time.Second // missed by a machine that stops for three only
	f := start(t, Options{HeartbeatInterval: interval})
	signer, err := testAuthority().SSHHostSigner("Node", "h")
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := f.sshAgent("h", signer)
	if err != nil {
		t.Fatal(err)
	}
	ch, _, err := c.OpenChannel(reversetunnel.ChannelHeartbeat, nil)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for time.Since(began) < (heartbeatsMissed+1)*interval {
		if _, err := ch.SendRequest(reversetunnel.RequestPing, false, nil); err != nil {
			t.Fatalf("dropped while it pings: %v", err)
		}
		time.Sleep(interval / 10)
	}
	gone := make(chan error, 1)
	go func() { gone <- c.Wait() }()
	waitFor(t, "the end of a silent tunnel", gone)
}

// A proxy that ends lets go of clients before it does of the agents that their next
// requests would be for: they find out by themselves that it has gone.
func TestShutdownKeptClients(t *testing.T) {
	app := appServer(t, func(w http.ResponseWriter, _ *http.Request) {})
	u, _ := url.Parse(app.URI)
	for _, version := range []string{"http/1.1", "h2"} {
		f := start(t, Options{Apps: []App{{Name: "app", URI: "http://"}}})
		agentOf(t, f, "host1", func(c net.Conn) {
			up, err := net.Dial("tcp", u.Host)
			if err == nil {
				conn.Splice(context.Background(), c, up)
			}
		}, reversetunnel.Resource{Kind: kindApp, Name: "app"})
		c := f.client(newUser(t).tls(appRoute("app")), version)
		if resp, body := get(t, c, "https://"+f.addr+"/"); resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s", resp.Status, body)
		}
		done := make(chan error, 1)
		go func() { done <- f.Shutdown(t.Context()) }()
		for f.Resources()[0].Agents > 0 {
			time.Sleep(time.Millisecond)
		}
		if resp, err := c.Get("https://" + f.addr + "/"); err == nil {
			resp.Body.Close()
			t.Errorf("%s: a request to a proxy that ends is answered %s", version, resp.Status)
		}
		if err := waitFor(t, "the end", done); err != nil {
			t.Error(err)
		}
	}
}

// An agent whose tunnel comes about only then does not hold up the end.
func TestShutdownLateAgent(t *testing.T) {
	f := start(t, Options{})
	signer, err := testAuthority().SSHHostSigner("Node", "h")
	if err != nil {
		t.Fatal(err)
	}
	f.agents.end()
	c, _, err := f.sshAgent("h", signer)
	if err != nil {
		return // it has ended already
	}
	gone := make(chan error, 1)
	go func() { gone <- c.Wait() }()
	waitFor(t, "the end of the tunnel", gone)
}

// A proxy that ends lets its agents go, and what they carry.
func TestShutdownAgents(t *testing.T) {
	f := start(t, Options{Databases: []Database{{Name: "cache", Protocol: "redis"}}})
	agentOf(t, f, "host1", echo, reversetunnel.Resource{Kind: kindDB, Name: "cache"})
	c := f.redis("cache")
	io.WriteString(c, "x")
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		done <- f.Shutdown(ctx)
	}()
	if got := roundTrip(t, c, "more"); got != "more" {
		t.Errorf("while it shuts down: %q", got)
	}
	c.Close()
	if err := waitFor(t, "the end", done); err != nil {
		t.Error(err)
	}
}
