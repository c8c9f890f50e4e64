package sshproxy_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"tshx/internal/proxyserver"
	"tshx/internal/sshproxy"
)

// What the real server half refuses arrives in its words, on one line.
func TestOpenRefused(t *testing.T) {
	p := startProxy(t, proxyserver.V17(), node(t, "node1", echoAll),
		proxyserver.Node{Name: "down", Addr: "127.0.0.1:1"})
	for _, tt := range []struct {
		name string
		node sshproxy.Node
		want string
	}{
		{"unknown node", sshproxy.Node{Host: "nope", Cluster: cluster}, `no such node: "nope" in cluster "` + cluster + `"`},
		{"unknown cluster", sshproxy.Node{Host: "node1", Cluster: "leaf"}, `cluster "leaf" is not known to this proxy`},
		{"node down", sshproxy.Node{Host: "down", Port: "3022", Cluster: cluster}, `node "down" cannot be reached`},
		{"unlisted address", sshproxy.Node{Host: "127.0.0.1", Port: "22"}, "no such node"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t)
			o.Node = tt.node
			_, err := p.open(o)
			var refused *sshproxy.RefusedError
			if !errors.As(err, &refused) || refused.Node != tt.node || !strings.Contains(refused.Reason, tt.want) {
				t.Fatalf("Open = %v", err)
			}
			checkLine(t, err)
			if !strings.Contains(err.Error(), tt.node.String()) {
				t.Errorf("%q does not name %s", err, tt.node)
			}
		})
	}
}

func TestOpenLogin(t *testing.T) {
	p := startProxy(t, proxyserver.V17(), node(t, "node1", echoAll))
	key := newKey(t, proxyserver.ECDSA)
	other, err := proxyserver.NewAuthority(cluster, proxyserver.ECDSA)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.IssueSSH(proxyserver.UserRequest{Public: key.Public(), NotAfter: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		change  func(*sshproxy.Options)
		ok      bool
		hostKey bool // the error is a *HostKeyError
	}{
		{"good", func(*sshproxy.Options) {}, true, false},
		{"other principal", func(o *sshproxy.Options) { o.User = "alice" }, true, false},
		{"no principal", func(o *sshproxy.Options) { o.User = "bob" }, false, false},
		{"expired", func(o *sshproxy.Options) {
			o.Signer = signer(t, key, func(r *proxyserver.UserRequest) { r.NotAfter = time.Now().Add(-time.Minute) })
		}, false, false},
		{"not yet valid", func(o *sshproxy.Options) {
			o.Signer = signer(t, key, func(r *proxyserver.UserRequest) { r.NotBefore = time.Now().Add(30 * time.Minute) })
		}, false, false},
		{"of another cluster", func(o *sshproxy.Options) { o.Signer = certSigner(t, foreign, key) }, false, false},
		{"plain key", func(o *sshproxy.Options) { o.Signer = plain }, false, false},
		{"proxy of another cluster", func(o *sshproxy.Options) { o.Hosts = hosts(t, other.SSHHost.PublicKey()) }, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t)
			tt.change(&o)
			_, err := p.open(o)
			if tt.ok {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var hostKey *sshproxy.HostKeyError
			var refused *sshproxy.RefusedError
			if err == nil || errors.As(err, &hostKey) != tt.hostKey || errors.As(err, &refused) {
				t.Fatalf("Open = %v", err)
			}
			checkLine(t, err)
			if !tt.hostKey && !strings.Contains(err.Error(), `localhost:3080 as "`+o.User+`"`) {
				t.Errorf("%q names neither proxy nor user", err)
			}
		})
	}
}

// A server with only a bare key is not talked to.
func TestOpenBareHostKey(t *testing.T) {
	bare, err := ssh.NewSignerFromSigner(newKey(t, proxyserver.ECDSA))
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{host: bare}
	f.config.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
		t.Error("logged in before the host was known")
		return nil, nil
	}
	if _, err := sshproxy.Open(t.Context(), f.connect(t), options(t)); err == nil {
		t.Error("a bare host key was taken")
	}
}

// The refusals that servers may think of: none makes Open wait for long or
// loses what the server has said.
func TestOpenRefusals(t *testing.T) {
	for _, tt := range []struct {
		name string
		fake fake
		want string // the reason of a RefusedError
	}{
		{"words first, as real proxies do", fake{session: func(s *fakeSession) {
			s.say("no node\r\n")
			s.request.Reply(false, []byte("no node"))
			s.Close()
		}}, "no node"},
		{"words last", fake{session: func(s *fakeSession) {
			s.request.Reply(false, nil)
			s.say("no ")
			s.say("node")
			s.exit(1)
			s.Close()
		}}, "no node"},
		{"channel left open", fake{session: func(s *fakeSession) {
			s.say("no node")
			s.request.Reply(false, nil)
		}}, "no node"},
		{"without words", fake{session: func(s *fakeSession) {
			s.request.Reply(false, nil)
			s.Close()
		}}, "subsystem request denied"},
		{"channel closed instead of an answer", fake{session: func(s *fakeSession) { s.Close() }}, "it ended the session"},
		{"closed with words instead of an answer", fake{session: func(s *fakeSession) { s.say("going down"); s.Close() }}, "going down"},
		{"words, then gone", fake{session: func(s *fakeSession) { s.say("going down"); s.conn.Close() }}, "going down"},
		{"too many words", fake{session: func(s *fakeSession) {
			s.say("a\x00\x1b[2J\u009b2J\u202e\xff\n" + strings.Repeat(" b\r\n", 1<<18))
			s.request.Reply(false, nil)
			s.Close()
		}}, "a [2J 2J" + strings.Repeat(" b", 252)},
		{"session rejected", fake{channel: func(_ *ssh.ServerConn, nc ssh.NewChannel) {
			nc.Reject(ssh.Prohibited, "too many\r\nsessions\x1b")
		}}, "too many sessions"},
		{"session rejected without words", fake{channel: func(_ *ssh.ServerConn, nc ssh.NewChannel) {
			nc.Reject(ssh.ResourceShortage, "")
		}}, "resource shortage"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			s, err := sshproxy.Open(t.Context(), tt.fake.connect(t), options(t))
			if err == nil {
				s.Close()
			}
			var refused *sshproxy.RefusedError
			if !errors.As(err, &refused) {
				t.Fatalf("Open = %v", err)
			}
			if refused.Reason != tt.want {
				t.Errorf("reason %q, want %q", refused.Reason, tt.want)
			}
			if d := time.Since(began); d > bound/2 {
				t.Errorf("Open took %v", d)
			}
		})
	}
}

// A proxy that goes away has not refused anything.
func TestOpenLost(t *testing.T) {
	for name, f := range map[string]*fake{
		"at the session":   {channel: func(c *ssh.ServerConn, _ ssh.NewChannel) { c.Close() }},
		"at the subsystem": {session: func(s *fakeSession) { s.conn.Close() }},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sshproxy.Open(t.Context(), f.connect(t), options(t))
			var refused *sshproxy.RefusedError
			if err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), "connection lost") {
				t.Fatalf("Open = %v", err)
			}
			checkLine(t, err)
		})
	}
}

// Cancelling ctx ends Open at whatever point the proxy has stopped, and closes
// the connection.
func TestOpenCancelled(t *testing.T) {
	for name, hang := range map[string]func(t *testing.T, reached func()) net.Conn{
		"before the greeting": func(t *testing.T, reached func()) net.Conn {
			client, server := tcpPair(t)
			go func() { server.Read(make([]byte, 8)); reached() }()
			return client
		},
		"at the login": func(t *testing.T, reached func()) net.Conn {
			f := &fake{}
			release := make(chan struct{})
			f.config.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
				reached()
				<-release
				return nil, errors.New("too late")
			}
			c := f.connect(t)
			t.Cleanup(func() { close(release) })
			return c
		},
		"at the session": func(t *testing.T, reached func()) net.Conn {
			return (&fake{channel: func(*ssh.ServerConn, ssh.NewChannel) { reached() }}).connect(t)
		},
		"at the subsystem": func(t *testing.T, reached func()) net.Conn {
			return (&fake{session: func(*fakeSession) { reached() }}).connect(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			cause := errors.New("interrupted")
			ctx, cancel := context.WithCancelCause(t.Context())
			c := hang(t, func() { cancel(cause) })
			began := time.Now()
			if _, err := sshproxy.Open(ctx, c, options(t)); !errors.Is(err, cause) {
				t.Errorf("Open = %v", err)
			} else {
				checkLine(t, err)
			}
			if d := time.Since(began); d > bound/2 {
				t.Errorf("Open took %v", d)
			}
			if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the connection is open: %v", err)
			}
		})
	}
}

// A proxy that never answers is given up after HandshakeTimeout.
func TestOpenTimeout(t *testing.T) {
	o := options(t)
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		go io.Copy(io.Discard, server)
		defer server.Close()
		began := time.Now()
		if _, err := sshproxy.Open(t.Context(), client, o); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Open = %v", err)
		}
		if d := time.Since(began); d != sshproxy.HandshakeTimeout {
			t.Errorf("Open took %v", d)
		}
	})
}
