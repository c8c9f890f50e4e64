package proxyserver

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"tshx/internal/conn"
	"tshx/internal/identity"
	"tshx/internal/upgrade"
)

func TestParseTarget(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want target
		ok   bool
	}{
		{"proxy:node1:3022@c", target{"node1", "3022", "c"}, true},
		{"proxy:node1:3022", target{"node1", "3022", ""}, true},
		{"proxy:node1:0@c", target{"node1", "0", "c"}, true},
		{"proxy:node1@c", target{"node1", "0", "c"}, true},
		{"proxy:node1:@c", target{"node1", "0", "c"}, true},
		{"proxy:node1:22@default@c", target{"node1", "22", "c"}, true},
		{"proxy:[::1]:22@c", target{"::1", "22", "c"}, true},
		{"proxy:@c", target{}, false},
		{"proxy:", target{}, false},
		{"proxy::22@c", target{}, false},
		{"proxy:node1:ssh@c", target{}, false},
		{"proxy:node1:70000@c", target{}, false},
		{"proxy:a@b@c@d", target{}, false},
		{"sftp", target{}, false},
		{"", target{}, false},
	} {
		got, err := parseTarget(tt.in)
		if tt.ok != (err == nil) || tt.ok && got != tt.want {
			t.Errorf("%q: %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"proxy:node1:3022@c", "proxy:node1:22@default@c", "proxy:[::1]:22@c", "proxy:@c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseTarget(s)
		if err != nil {
			return
		}
		again := subsystemPrefix + net.JoinHostPort(got.Host, got.Port)
		if got.Cluster != "" {
			again += "@" + got.Cluster
		}
		if strings.ContainsAny(got.Host, "[]%") {
			return // not a host that can be joined again
		}
		if round, err := parseTarget(again); err != nil || round != got {
			t.Errorf("%q is %+v, again %+v, %v", s, got, round, err)
		}
	})
}

func TestNodeLookup(t *testing.T) {
	s := &Server{agents: &agents{}, opts: Options{Authority: testAuthority(), Nodes: []Node{
		{Name: "node1", ID: "id-1", Addr: "10.0.0.1:3022"},
		{Name: "twin", Addr: "10.0.0.2:22"},
		{Name: "twin", Addr: "10.0.0.3:23"},
	}}}
	for _, tt := range []struct {
		t    target
		want string
	}{
		{target{"node1", "0", testCluster}, "10.0.0.1:3022"},
		{target{"node1", "22", ""}, "10.0.0.1:3022"},
		{target{"node1." + testCluster, "0", ""}, "10.0.0.1:3022"},
		{target{"id-1", "0", ""}, "10.0.0.1:3022"},
		{target{"10.0.0.1", "3022", ""}, "10.0.0.1:3022"},
		{target{"10.0.0.1", "22", ""}, ""},
		{target{"twin", "23", ""}, "10.0.0.3:23"},
		{target{"twin", "0", ""}, ""},
		{target{"node2", "0", ""}, ""},
		{target{"node1", "0", "other"}, ""},
		{target{"127.0.0.1", "22", ""}, ""},
	} {
		n, err := s.node(tt.t)
		if n.Addr != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%+v: %q, %v; want %q", tt.t, n.Addr, err, tt.want)
		}
	}
}

// sshDial logs in at the proxy's SSH front.
func (f *fixture) sshDial(user string, signer ssh.Signer) (*ssh.Client, error) {
	f.t.Helper()
	return f.sshOver(f.dial(nil, "teleport-proxy-ssh"), user, signer)
}

func (f *fixture) sshOver(c net.Conn, user string, signer ssh.Signer) (*ssh.Client, error) {
	f.t.Helper()
	checker := &ssh.CertChecker{IsHostAuthority: func(k ssh.PublicKey, _ string) bool {
		return bytes.Equal(k.Marshal(), testAuthority().SSHHost.PublicKey().Marshal())
	}}
	sc, chans, reqs, err := ssh.NewClientConn(c, "localhost:3080", &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: checker.CheckHostKey,
	})
	if err != nil {
		return nil, err
	}
	client := ssh.NewClient(sc, chans, reqs)
	f.t.Cleanup(func() { client.Close() })
	return client, nil
}

// ssh returns a signer with a certificate by authority a.
func (u *user) ssh(a *Authority, r UserRequest) ssh.Signer {
	u.t.Helper()
	cert, err := a.IssueSSH(r)
	if err != nil {
		u.t.Fatal(err)
	}
	plain, err := ssh.NewSignerFromSigner(u.key)
	if err != nil {
		u.t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(cert, plain)
	if err != nil {
		u.t.Fatal(err)
	}
	return s
}

func TestSSHLogin(t *testing.T) {
	f := start(t, Options{})
	u := newUser(t)
	r := u.request(identity.Identity{})
	other, err := NewAuthority("other", ECDSA)
	if err != nil {
		t.Fatal(err)
	}
	expired := r
	expired.NotAfter = time.Now().Add(-time.Minute)
	early := r
	early.NotBefore = time.Now().Add(30 * time.Minute)
	plain, err := ssh.NewSignerFromSigner(u.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, user string
		signer     ssh.Signer
		ok         bool
	}{
		{"principal", "root", u.ssh(testAuthority(), r), true},
		{"other principal", "alice", u.ssh(testAuthority(), r), true},
		{"no principal", "bob", u.ssh(testAuthority(), r), false},
		{"wrong authority", "root", u.ssh(other, r), false},
		{"expired", "root", u.ssh(testAuthority(), expired), false},
		{"not yet valid", "root", u.ssh(testAuthority(), early), false},
		{"plain key", "root", plain, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := f.sshDial(tt.user, tt.signer); (err == nil) != tt.ok {
				t.Errorf("login: %v", err)
			}
		})
	}
}

func login(t *testing.T, f *fixture) *ssh.Client {
	t.Helper()
	u := newUser(t)
	c, err := f.sshDial("root", u.ssh(testAuthority(), u.request(identity.Identity{})))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSSHSubsystem(t *testing.T) {
	f := start(t, Options{Nodes: []Node{{Name: "node1", Addr: backend(t, echo)}, {Name: "down", Addr: "127.0.0.1:1"}}})
	client := login(t, f)
	for _, tt := range []struct {
		name, subsystem string
		want            string // what comes back; else the error on stderr
		stderr          string
	}{
		{"by name", "proxy:node1:0@" + testCluster, "ding", ""},
		{"legacy", "proxy:node1:22@default@" + testCluster, "ding", ""},
		{"no cluster", "proxy:node1:3022", "ding", ""},
		{"unknown node", "proxy:node9:0@" + testCluster, "", `no such node: "node9"`},
		{"unlisted address", "proxy:127.0.0.1:22@" + testCluster, "", "no such node"},
		{"node down", "proxy:down:0", "", `node "down" cannot be reached`},
		{"other cluster", "proxy:node1:0@leaf", "", `cluster "leaf" is not known`},
		{"auth", "proxy:@" + testCluster, "", "no way to the auth service"},
		{"unknown subsystem", "sftp", "", "unknown subsystem"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ch, reqs, err := client.OpenChannel("session", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer ch.Close()
			status := make(chan uint32, 1)
			go func() {
				for r := range reqs {
					if r.Type == "exit-status" {
						var p struct{ Status uint32 }
						ssh.Unmarshal(r.Payload, &p)
						status <- p.Status
					}
				}
				close(status)
			}()
			if ok, err := ch.SendRequest("auth-agent-req@openssh.com", true, nil); !ok || err != nil {
				t.Errorf("agent request: %v, %v", ok, err)
			}
			ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{tt.subsystem}))
			if err != nil {
				t.Fatal(err)
			}
			if ok != (tt.stderr == "") {
				t.Fatalf("subsystem accepted: %v", ok)
			}
			if ok {
				io.WriteString(ch, "ding")
				ch.CloseWrite()
			}
			out, _ := io.ReadAll(ch)
			errOut, _ := io.ReadAll(ch.Stderr())
			if string(out) != tt.want || !strings.Contains(string(errOut), tt.stderr) {
				t.Errorf("got %q and %q, want %q and %q", out, errOut, tt.want, tt.stderr)
			}
			var want uint32
			if !ok {
				want = 1
			}
			if got, sent := <-status; !sent || got != want {
				t.Errorf("exit status %d, sent %v; want %d", got, sent, want)
			}
		})
	}
}

// Each side may end first without the other losing a byte.
func TestSSHHalfClose(t *testing.T) {
	const big = 4 << 20
	payload := bytes.Repeat([]byte("0123456789abcdef"), big/16)
	for _, tt := range []struct {
		name string
		node func(net.Conn)
	}{
		{"client ends first", func(c net.Conn) {
			b, _ := io.ReadAll(c)
			c.Write(b)
		}},
		{"node ends first", func(c net.Conn) {
			c.Write(payload)
			c.(interface{ CloseWrite() error }).CloseWrite()
			io.Copy(io.Discard, c)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, Options{Nodes: []Node{{Name: "node1", Addr: backend(t, tt.node)}}})
			got := subsystem(t, f, "proxy:node1:0", payload)
			if !bytes.Equal(got, payload) {
				t.Errorf("%d of %d bytes", len(got), len(payload))
			}
		})
	}
}

func subsystem(t *testing.T, f *fixture, name string, in []byte) []byte {
	t.Helper()
	ch, reqs, err := login(t, f).OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Close()
	go ssh.DiscardRequests(reqs)
	if ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{name})); !ok || err != nil {
		t.Fatalf("subsystem: %v, %v", ok, err)
	}
	go func() { ch.Write(in); ch.CloseWrite() }()
	out, err := io.ReadAll(ch)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A node that breaks off must not look like one that has finished: no exit
// status follows.
func TestSSHNodeReset(t *testing.T) {
	f := start(t, Options{Nodes: []Node{{Name: "node1", Addr: backend(t, func(c net.Conn) {
		io.WriteString(c, "half")
		io.ReadFull(c, make([]byte, 2))
		conn.Abort(c)
	})}}})
	ch, reqs, err := login(t, f).OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Close()
	if ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"proxy:node1:0"})); !ok || err != nil {
		t.Fatalf("subsystem: %v, %v", ok, err)
	}
	if _, err := io.ReadFull(ch, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	io.WriteString(ch, "go")
	for r := range reqs { // until the channel is closed
		t.Errorf("request %s after the node broke off", r.Type)
	}
}

func TestSSHOthers(t *testing.T) {
	f := start(t, Options{})
	client := login(t, f)

	ok, payload, err := client.SendRequest("cluster-details@goteleport.com", true, nil)
	var details struct{ Recording, FIPS bool }
	if err != nil || !ok || ssh.Unmarshal(payload, &details) != nil || details.Recording || details.FIPS {
		t.Errorf("cluster details: %v %x %v", ok, payload, err)
	}
	if ok, _, err := client.SendRequest("keepalive@openssh.com", true, nil); ok || err != nil {
		t.Errorf("keepalive: %v, %v; want a refusal, which is an answer", ok, err)
	}
	if _, _, err := client.OpenChannel("direct-tcpip", nil); err == nil {
		t.Error("direct-tcpip accepted")
	}

	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	s.Stderr = &stderr
	if err := s.Run("id"); err == nil {
		t.Error("the proxy ran a command")
	}

	var sites []struct{ Name, Status string }
	if err := json.Unmarshal(subsystem(t, f, "proxysites", nil), &sites); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]struct{ Name, Status string }{{testCluster, "online"}}, sites); diff != "" {
		t.Error(diff)
	}
}

func TestSSHEndsWithServer(t *testing.T) {
	hold := make(chan struct{})
	f := start(t, Options{Nodes: []Node{{Name: "node1", Addr: backend(t, func(c net.Conn) {
		io.WriteString(c, "hello")
		io.Copy(io.Discard, c)
		close(hold)
	})}}})
	client := login(t, f)
	ch, reqs, err := client.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	if ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"proxy:node1:0"})); !ok || err != nil {
		t.Fatalf("subsystem: %v, %v", ok, err)
	}
	if _, err := io.ReadFull(ch, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	<-hold // the node's side has ended too
	if _, err := ch.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read after the end: %v", err)
	}
}

// A client that sends its last bytes and leaves, without waiting for anything,
// has sent them nevertheless.
func TestSSHClientLeaves(t *testing.T) {
	const size = 1 << 20
	for _, upgraded := range []bool{false, true} {
		t.Run(fmt.Sprintf("upgraded %v", upgraded), func(t *testing.T) {
			got, reading := make(chan int64, 1), make(chan struct{})
			f := start(t, Options{Nodes: []Node{{Name: "node1", Addr: backend(t, func(c net.Conn) {
				<-reading // so that the bytes wait at the proxy
				n, _ := io.Copy(io.Discard, c)
				got <- n
			})}}})
			u := newUser(t)
			signer := u.ssh(testAuthority(), u.request(identity.Identity{}))
			var client *ssh.Client
			var err error
			if upgraded {
				target := upgrade.Target{Addr: f.addr, Roots: testAuthority().Web.Pool()}
				c, _, uerr := target.Connect(t.Context(), upgrade.ALPNPing, upgrade.WebSocket)
				if uerr != nil {
					t.Fatal(uerr)
				}
				client, err = f.sshOver(tls.Client(c, config(testAuthority().Host.Pool(), nil, "teleport-proxy-ssh")), "root", signer)
			} else {
				client, err = f.sshDial("root", signer)
			}
			if err != nil {
				t.Fatal(err)
			}
			ch, reqs, err := client.OpenChannel("session", nil)
			if err != nil {
				t.Fatal(err)
			}
			go ssh.DiscardRequests(reqs)
			if ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"proxy:node1:0"})); !ok || err != nil {
				t.Fatalf("subsystem: %v, %v", ok, err)
			}
			if _, err := ch.Write(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			// The answer to a request tells that what precedes it has been read.
			if _, _, err := client.SendRequest("cluster-details@goteleport.com", true, nil); err != nil {
				t.Fatal(err)
			}
			client.Close()
			close(reading)
			if n := <-got; n != size {
				t.Errorf("%d of %d bytes reached the node", n, size)
			}
		})
	}
}
