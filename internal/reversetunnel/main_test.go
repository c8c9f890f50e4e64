package reversetunnel

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"tshx/internal/conn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const cluster = "test.example.com"

// authority is the host authority of a cluster.
type authority struct{ ssh.Signer }

func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	s, err := ssh.NewSignerFromSigner(key)
	must(t, err)
	return s
}

// host issues a host certificate; change, if not nil, is applied before it is
// signed.
func (a authority) host(t testing.TB, role string, change func(*ssh.Certificate), names ...string) ssh.Signer {
	t.Helper()
	key := newSigner(t)
	cert := &ssh.Certificate{
		Key: key.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: names, ValidBefore: ssh.CertTimeInfinity,
		Permissions: ssh.Permissions{Extensions: map[string]string{ExtensionAuthority: cluster, ExtensionRole: role}},
	}
	if change != nil {
		change(cert)
	}
	must(t, cert.SignCert(rand.Reader, a))
	s, err := ssh.NewCertSigner(cert, key)
	must(t, err)
	return s
}

// proxy is the other half, as far as a test needs it.
type proxy struct {
	t     testing.TB
	id    string
	host  atomic.Pointer[ssh.Signer]
	knows bool // announcements; otherwise it is a real one

	tunnels chan *proxyTunnel
	refuse  func(Announcement) string
	alive   func() // called before the answer to a sign of life
	unknown func() // called before an unknown channel is refused
	rejects string // refuses heartbeats with these words
}

// proxyTunnel is a tunnel as the proxy sees it.
type proxyTunnel struct {
	*ssh.ServerConn
	wire      *Wire
	pings     chan string
	announced chan Announcement
	done      chan struct{}
}

func newProxy(t testing.TB, a authority, id string) *proxy {
	p := &proxy{t: t, id: id, knows: true, tunnels: make(chan *proxyTunnel, 16)}
	p.shows(a.host(t, RoleProxy, nil, id+"."+cluster, id))
	return p
}

// shows changes the host key.
func (p *proxy) shows(key ssh.Signer) { p.host.Store(&key) }

// serve takes a connection of an agent.
func (p *proxy) serve(c net.Conn) {
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if _, ok := key.(*ssh.Certificate); !ok || m.User() != "agent" {
			return nil, errors.New("not the agent")
		}
		return nil, nil
	}}
	cfg.ServerVersion = "SSH-2.0-Teleport"
	if p.knows {
		cfg.ServerVersion = Banner
	}
	cfg.AddHostKey(*p.host.Load())
	w := NewWire(c)
	sc, chans, reqs, err := ssh.NewServerConn(w, cfg)
	if err != nil {
		w.Close()
		return
	}
	t := &proxyTunnel{sc, w, make(chan string, 100), make(chan Announcement, 10), make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() {
		for r := range reqs {
			n, err := ParseAnnouncement(r.Payload)
			if r.Type == RequestKeepAlive && p.alive != nil {
				p.alive()
			}
			if !p.knows {
				continue // real ones say nothing at all
			}
			switch {
			case r.Type != RequestResources || err != nil:
				r.Reply(false, nil)
			case p.refuse != nil && p.refuse(n) != "":
				r.Reply(false, []byte(p.refuse(n)))
			default:
				t.announced <- n
				r.Reply(true, nil)
			}
		}
	})
	p.tunnels <- t
	for nc := range chans {
		switch {
		case nc.ChannelType() != ChannelHeartbeat:
			if p.unknown != nil {
				p.unknown()
			}
			nc.Reject(ssh.UnknownChannelType, "")
			continue
		case p.rejects != "":
			nc.Reject(ssh.ConnectionFailed, p.rejects)
			continue
		}
		_, reqs, err := nc.Accept()
		if err != nil {
			continue // the tunnel is gone
		}
		wg.Go(func() {
			for r := range reqs {
				t.pings <- string(r.Payload)
			}
		})
	}
	wg.Wait()
	close(t.done)
}

// open asks for a stream.
func (t *proxyTunnel) open(ctx context.Context, payload []byte) (*Stream, error) {
	ch, reqs, err := Open(ctx, t, t.wire, ChannelTransport)
	if err != nil {
		return nil, err
	}
	ok, err := ch.SendRequest(RequestDial, true, payload)
	if err == nil && !ok {
		text, _ := io.ReadAll(ch.Stderr())
		err = errors.New(string(text))
	}
	if err != nil {
		go ssh.DiscardRequests(reqs)
		return nil, err
	}
	return NewStream(ch, reqs, t.wire, nil), nil
}

func (t *proxyTunnel) discover(ids ...string) error {
	ch, reqs, err := Open(context.Background(), t, t.wire, ChannelDiscovery)
	if err != nil {
		return err
	}
	go ssh.DiscardRequests(reqs)
	_, err = ch.SendRequest(RequestDiscovery, true, MarshalDiscovery(ids))
	return err
}

// world is a cluster with one agent.
type world struct {
	t     testing.TB
	ca    authority
	proxy *proxy
	agent *Agent
	stop  context.CancelFunc
	ended chan error
}

// newWorld has an agent with one node, whose connections backend serves.
func newWorld(t testing.TB, backend func(net.Conn)) *world {
	w := &world{t: t, ca: authority{newSigner(t)}, ended: make(chan error, 1)}
	w.proxy = newProxy(t, w.ca, "proxy1")
	signer := w.ca.host(t, "Node", nil, "agent", "agent."+cluster)
	w.agent = &Agent{
		Dial: w.dial,
		Identity: func() (Identity, error) {
			return Identity{HostID: "agent", Cluster: cluster, Signer: signer, Authorities: []ssh.PublicKey{w.ca.PublicKey()}}, nil
		},
		Services: []Service{{
			Resource: Resource{Kind: KindNode, Name: "node1"},
			Dial: func(context.Context, DialRequest) (net.Conn, error) {
				near, far := tcpPair(t)
				go backend(far)
				return near, nil
			},
		}},
	}
	return w
}

func (w *world) dial(context.Context) (net.Conn, error) {
	near, far := memory()
	go w.proxy.serve(far)
	return near, nil
}

// memory is a connection with room for what is under way: both ends of SSH speak
// first, which net.Pipe does not let them. In a bubble of synctest, waiting for it
// is waiting.
func memory() (a, b net.Conn) {
	x, y := newQueue(), newQueue()
	return &memoryConn{in: x, out: y}, &memoryConn{in: y, out: x}
}

type queue struct {
	mu   sync.Mutex
	cond sync.Cond
	b    bytes.Buffer
	done bool
	lost bool // what is written vanishes
}

func newQueue() *queue {
	q := &queue{}
	q.cond.L = &q.mu
	return q
}

type memoryConn struct {
	net.Conn // nil
	in, out  *queue
}

func (c *memoryConn) Read(p []byte) (int, error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	for c.in.b.Len() == 0 && !c.in.done {
		c.in.cond.Wait()
	}
	return c.in.b.Read(p)
}

func (c *memoryConn) Write(p []byte) (int, error) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.done {
		return 0, io.ErrClosedPipe
	}
	if c.out.lost {
		return len(p), nil
	}
	c.out.cond.Broadcast()
	return c.out.b.Write(p)
}

func (c *memoryConn) Close() error {
	for _, q := range []*queue{c.in, c.out} {
		q.mu.Lock()
		q.done = true
		q.cond.Broadcast()
		q.mu.Unlock()
	}
	return nil
}

func (c *memoryConn) LocalAddr() net.Addr  { return &net.TCPAddr{} }
func (c *memoryConn) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// run starts the agent.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	go func() { w.ended <- w.agent.Run(ctx) }()
}

// tunnel waits for the next tunnel that knows what there is.
func (p *proxy) tunnel() *proxyTunnel {
	t := <-p.tunnels
	if p.knows {
		<-t.announced
	}
	return t
}

// end stops the agent and waits for all of it.
func (w *world) end() {
	w.t.Helper()
	w.stop()
	if err := <-w.ended; err != nil {
		w.t.Errorf("the agent ended with %v", err)
	}
}

// tcpPair is a connection with half-closes and resets; both ends are closed with
// the test.
func tcpPair(t testing.TB) (near, far net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	near, err = net.Dial("tcp", ln.Addr().String())
	must(t, err)
	far, err = ln.Accept()
	must(t, err)
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// echo sends back what it gets, and ends when the client has.
func echo(c net.Conn) {
	defer c.Close()
	if _, err := io.Copy(c, c); err == nil {
		conn.CloseWrite(c)
	}
}

func node(name string) []byte {
	return DialRequest{Address: AddressLocal, ConnType: KindNode, Resource: name}.Marshal()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// soon bounds waits for what is under way.
const soon = 20 * time.Second

func within[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(soon):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}
