package reversetunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
)

// Heartbeats: one without content at once, then the time at each interval.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, echo)
		w.run()
		defer w.end()
		tunnel := w.proxy.tunnel()
		if p := <-tunnel.pings; p != "" {
			t.Errorf("the first ping says %q", p)
		}
		start := time.Now()
		for i := range 3 {
			at, err := time.Parse(time.RFC3339, <-tunnel.pings)
			if want := start.Add(time.Duration(i+1) * HeartbeatInterval); err != nil || !at.Equal(want) {
				t.Errorf("ping %d says %v, %v, want %v", i, at, err, want)
			}
			if took := time.Since(start); took != time.Duration(i+1)*HeartbeatInterval {
				t.Errorf("ping %d came after %v", i, took)
			}
		}
	})
}

// A proxy that has gone without a word is given up in time, also when nothing is
// under way, and there is a new tunnel at once.
func TestSilentProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, echo)
		var hole *memoryConn
		w.agent.Dial = func(context.Context) (net.Conn, error) {
			near, far := memory()
			if hole == nil {
				hole = near.(*memoryConn)
			}
			go w.proxy.serve(far)
			return near, nil
		}
		w.run()
		defer w.end()
		first := w.proxy.tunnel()
		time.Sleep(time.Minute) // an idle tunnel lives
		select {
		case <-first.done:
			t.Fatal("an idle tunnel was given up")
		default:
		}
		start := time.Now()
		hole.lose()
		w.proxy.tunnel()
		if took, most := time.Since(start), KeepAliveInterval+KeepAliveTimeout+backoffSoon; took > most {
			t.Errorf("a new tunnel after %v, want %v at most", took, most)
		}
		<-first.done
	})
}

// lose has what is written vanish, as in a network that is gone.
func (c *memoryConn) lose() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.lost = true
}

// A proxy that is away is tried again at bounded distances, told of once, and
// reached soon after it is back, however long it was away.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, echo)
		var away atomic.Bool
		var mu sync.Mutex
		var tries []time.Time
		w.agent.Dial = func(ctx context.Context) (net.Conn, error) {
			mu.Lock()
			tries = append(tries, time.Now())
			mu.Unlock()
			if away.Load() {
				return nil, errors.New("connection refused")
			}
			return w.dial(ctx)
		}
		var told []string
		w.agent.Retry = func(err error) { told = append(told, err.Error()) }
		w.run()
		defer w.end()
		tunnel := w.proxy.tunnel()
		time.Sleep(stable)
		away.Store(true)
		mu.Lock()
		tries = nil
		mu.Unlock()
		lost := time.Now()
		tunnel.wire.Close()
		time.Sleep(10 * time.Minute)
		returned := time.Now()
		away.Store(false)
		w.proxy.tunnel()
		back := time.Now()
		mu.Lock()
		defer mu.Unlock()
		if took := back.Sub(returned); took > backoffMax {
			t.Errorf("back after %v", took)
		}
		if soon := tries[0].Sub(lost); soon > backoffSoon {
			t.Errorf("the first try came after %v", soon)
		}
		for i := range tries[1:] {
			d := tries[i+1].Sub(tries[i])
			if d > backoffMax || d < backoffMin/2 || i > 10 && d < backoffMax/2 {
				t.Errorf("try %d came %v after the one before", i+1, d)
			}
		}
		if len(told) != 1 || told[0] != "connection refused" {
			t.Errorf("told of %q", told)
		}
	})
}

// A proxy that drops each tunnel at once is not stormed.
func TestDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, echo)
		w.run()
		defer w.end()
		deadline := time.Now().Add(time.Minute)
		n := 0
		for time.Now().Before(deadline) {
			w.proxy.tunnel().wire.Close()
			n++
		}
		if most := int(time.Minute/(backoffMax/2)) + 10; n > most {
			t.Errorf("%d tunnels in a minute, want %d at most", n, most)
		}
	})
}

// Each proxy of the list gets a tunnel, however often the balancer leads to one
// that has one, and one that returns gets one again.
func TestDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, echo)
		second := newProxy(t, w.ca, "proxy2")
		turn := 0
		w.agent.Dial = func(context.Context) (net.Conn, error) {
			near, far := memory()
			p := w.proxy
			if turn++; turn%4 == 0 { // the balancer is no fair one
				p = second
			}
			go p.serve(far)
			return near, nil
		}
		w.run()
		defer w.end()
		first := w.proxy.tunnel()
		time.Sleep(time.Minute)
		synctest.Wait()
		if turn != 1 {
			t.Errorf("%d tunnels where one is enough", turn)
		}
		must(t, first.discover("proxy1", "proxy2"))
		at2 := second.tunnel()
		time.Sleep(time.Minute)
		synctest.Wait()
		reached := turn
		if time.Sleep(time.Minute); turn != reached {
			t.Error("it goes on dialling with all proxies reached")
		}
		for range len(w.proxy.tunnels) { // those that the balancer led to it again
			select {
			case <-(<-w.proxy.tunnels).done:
			default:
				t.Error("two tunnels to one proxy")
			}
		}
		at2.wire.Close()
		second.tunnel()
		select {
		case <-first.done:
			t.Error("the tunnel to the first proxy ended")
		default:
		}
	})
}

// A proxy that goes away: a new tunnel first, and the old one for as long as it
// carries something.
func TestReplaced(t *testing.T) {
	w := newWorld(t, echo)
	w.run()
	defer w.end()
	first := w.proxy.tunnel()
	s, err := first.open(t.Context(), node("node1"))
	must(t, err)
	if ok, _, err := first.SendRequest(RequestReconnect, true, nil); !ok || err != nil {
		t.Fatalf("asked to reconnect: %v, %v", ok, err)
	}
	second := w.proxy.tunnel()
	if _, err := io.WriteString(s, "still here"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if _, err := io.ReadFull(s, b); err != nil || string(b) != "still here" {
		t.Fatalf("read %q, %v", b, err)
	}
	s.CloseWrite()
	io.Copy(io.Discard, s)
	s.Close()
	within(t, "the end of the old tunnel", first.done)
	if s, err := second.open(t.Context(), node("node1")); err != nil {
		t.Error(err)
	} else {
		s.Close()
	}
}

// The last words of a stream may still be under way when it has ended here: the
// tunnel stays until the proxy has heard them, also a real one.
func TestReplacedUnheard(t *testing.T) {
	for name, ours := range map[string]bool{"ours": true, "real": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, echo)
			asked, heard := make(chan struct{}), make(chan struct{})
			ask := sync.OnceFunc(func() {
				close(asked)
				<-heard
			})
			if w.proxy.knows = ours; ours {
				w.proxy.alive = ask
			} else {
				w.proxy.unknown = ask
			}
			w.run()
			defer w.end()
			first := w.proxy.tunnel()
			s, err := first.open(t.Context(), node("node1"))
			must(t, err)
			first.SendRequest(RequestReconnect, true, nil)
			w.proxy.tunnel()
			s.CloseWrite()
			io.Copy(io.Discard, s)
			s.Close()
			select {
			case <-asked:
			case <-first.done:
				t.Error("the tunnel has ended, and did not ask what the proxy has heard")
			}
			close(heard)
			within(t, "the end of the old tunnel", first.done)
		})
	}
}

// An agent that ends says so, waits for what is open, but not for ever.
func TestLeaves(t *testing.T) {
	for name, patient := range map[string]bool{"in time": true, "too late": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, echo)
			if !patient {
				w.agent.Drain = 50 * time.Millisecond
			}
			w.run()
			tunnel := w.proxy.tunnel()
			s, err := tunnel.open(t.Context(), node("node1"))
			must(t, err)
			w.stop()
			if n := within(t, "the last announcement", tunnel.announced); len(n.Resources) > 0 {
				t.Errorf("it still announces %v", n.Resources)
			}
			if patient {
				io.WriteString(s, "x")
				s.CloseWrite()
				if b, err := io.ReadAll(s); err != nil || string(b) != "x" {
					t.Errorf("read %q, %v", b, err)
				}
				s.Close()
			} else if b, err := io.ReadAll(s); err == nil {
				t.Errorf("a stream that was cut read %q and its end", b)
			}
			if err := within(t, "the end", w.ended); err != nil {
				t.Error(err)
			}
		})
	}
}

// A proxy that does not get round to an answer loses nothing of what is open.
func TestLeavesUnheard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.agent.Services[0].Dial = func(context.Context, DialRequest) (net.Conn, error) {
			near, far := memory()
			go echo(far)
			return near, nil
		}
		busy := make(chan struct{})
		w.proxy.refuse = func(a Announcement) string {
			if len(a.Resources) == 0 {
				<-busy
			}
			return ""
		}
		w.run()
		tunnel := w.proxy.tunnel()
		s, err := tunnel.open(t.Context(), node("node1"))
		must(t, err)
		w.stop()
		time.Sleep(leaveTimeout + time.Second)
		io.WriteString(s, "x")
		if n, err := s.Read(make([]byte, 1)); err != nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
		close(busy)
		s.Close()
		if err := <-w.ended; err != nil {
			t.Error(err)
		}
	})
}

// What no further try can change ends an agent that has not been up.
func TestFinal(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*world)
		says   string
	}{
		"another authority": {func(w *world) {
			w.proxy.shows(authority{newSigner(w.t)}.host(w.t, RoleProxy, nil, "proxy1"))
		}, "not the cluster's"},
		"no proxy": {func(w *world) { w.proxy.shows(w.ca.host(w.t, "Node", nil, "proxy1")) }, "not of a proxy"},
		"a user's": {func(w *world) {
			w.proxy.shows(w.ca.host(w.t, RoleProxy, func(c *ssh.Certificate) { c.CertType = ssh.UserCert }, "proxy1"))
		}, "not one of a host"},
		"expired": {func(w *world) {
			w.proxy.shows(w.ca.host(w.t, RoleProxy, func(c *ssh.Certificate) { c.ValidBefore = 1 }, "proxy1"))
		}, "expired"},
		"refused": {func(w *world) {
			own := w.agent.Identity
			w.agent.Identity = func() (Identity, error) { id, err := own(); id.HostID = "stranger"; return id, err }
		}, "not accepted"},
		"announcement refused": {func(w *world) {
			w.proxy.refuse = func(Announcement) string { return "no nodes\x1b[31m here" }
		}, "no nodes [31m here"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, echo)
			tt.change(w)
			w.run()
			defer w.stop()
			if err := within(t, "the end", w.ended); err == nil || !strings.Contains(err.Error(), tt.says) || !final(err) {
				t.Errorf("ended with %v, want %q", err, tt.says)
			}
		})
	}
}

// The same answers later, from a proxy in trouble, only mean another try.
func TestNotFinalLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, echo)
		good, bad := *w.proxy.host.Load(), authority{newSigner(t)}.host(t, RoleProxy, nil, "proxy1")
		w.run()
		defer w.end()
		tunnel := w.proxy.tunnel()
		synctest.Wait() // until the agent knows that it is up
		w.proxy.shows(bad)
		tunnel.wire.Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		w.proxy.shows(good)
		w.proxy.tunnel()
	})
}

// A real proxy knows no announcements.
func TestUnknownAnnouncement(t *testing.T) {
	w := newWorld(t, echo)
	w.proxy.knows = false
	up := make(chan string, 1)
	w.agent.Up = func(id string) { up <- id }
	w.run()
	defer w.end()
	tunnel := w.proxy.tunnel()
	if id := within(t, "the tunnel", up); id != "proxy1" {
		t.Errorf("up at %q", id)
	}
	for _, payload := range []string{"node1", "node1:0", `{"address":"@local-node"}`, `{"address":"@local-node","conn_type":"node","server_id":"x"}`} {
		s, err := tunnel.open(t.Context(), []byte(payload))
		if err != nil {
			t.Errorf("%s: %v", payload, err)
			continue
		}
		io.WriteString(s, "x")
		if _, err := s.Read(make([]byte, 1)); err != nil {
			t.Errorf("%s: %v", payload, err)
		}
		s.Close()
	}
}

// What is refused is refused with words, and nothing else is ever dialled.
func TestRefusedStreams(t *testing.T) {
	w := newWorld(t, echo)
	w.agent.Services = append(w.agent.Services, Service{
		Resource: Resource{Kind: KindDB, Name: "down"},
		Dial: func(context.Context, DialRequest) (net.Conn, error) {
			return nil, errors.New("nobody listens\nthere")
		},
	})
	w.run()
	defer w.end()
	tunnel := w.proxy.tunnel()
	for payload, says := range map[string]string{
		`{"tshx_resource":"down","conn_type":"db"}`:    "db down: nobody listens there",
		`{"tshx_resource":"node2"}`:                    `this agent has no node "node2"`,
		`{"address":"@local-node","conn_type":"kube"}`: `no resource of the kind "kube"`,
		`10.0.0.1:22`:         `this agent does not connect to "10.0.0.1:22"`,
		`@remote-auth-server`: "does not connect",
		`{"address":`:         "dial request",
		`{"address":"127.0.0.1:22","conn_type":"node"}`:  "does not connect",
		`{"address":"@local-node","tshx_resource":"no"}`: "has no node",
	} {
		if _, err := tunnel.open(t.Context(), []byte(payload)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", payload, err, says)
		}
	}
	if _, _, err := Open(t.Context(), tunnel, tunnel.wire, "session"); err == nil {
		t.Error("a session channel was accepted")
	}
	if ok, version, _ := tunnel.SendRequest(RequestVersion, true, nil); !ok || len(version) == 0 {
		t.Errorf("version: %v, %q", ok, version)
	}
}

func TestPause(t *testing.T) {
	for failed := range 100 {
		for range 100 {
			d := pause(failed)
			if failed == 0 && d >= backoffSoon || failed > 0 && (d < backoffMin/2 || d > backoffMax) || failed > 6 && d < backoffMax/2 {
				t.Fatalf("pause %d is %v", failed, d)
			}
		}
	}
}
