package tlsroute_test

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// handshakes is a TLS server that notes of each handshake how it went.
type handshakes struct {
	cfg *tls.Config
	mu  sync.Mutex
	// list has the states of those that came about, failed counts the others.
	list   []tls.ConnectionState
	failed int
}

func (h *handshakes) serve(c net.Conn) {
	tc := tls.Server(c, h.cfg)
	defer tc.Close()
	err := tc.Handshake()
	h.mu.Lock()
	if err != nil {
		h.failed++
	} else {
		h.list = append(h.list, tc.ConnectionState())
	}
	h.mu.Unlock()
	io.Copy(tc, tc)
}

// take returns what was noted since the last time.
func (h *handshakes) take() (list []tls.ConnectionState, failed int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list, failed = h.list, h.failed
	h.list, h.failed = nil, 0
	return list, failed
}

func newHandshakes(t *testing.T, groups ...tls.CurveID) (*handshakes, *tlsroute.Dialer) {
	web, err := authority().WebCertificate()
	if err != nil {
		t.Fatal(err)
	}
	h := &handshakes{cfg: &tls.Config{Certificates: []tls.Certificate{web}, NextProtos: []string{tlsroute.ALPNTCP}, CurvePreferences: groups}}
	return h, &tlsroute.Dialer{Finder: &tlsroute.Finder{
		Target:  upgrade.Target{Addr: serve(t, h.serve), Roots: authority().Web.Pool()},
		Profile: &tlsroute.Way{At: time.Now()},
	}}
}

// dials has n connections proved, one after the other.
func dials(t *testing.T, d *tlsroute.Dialer, n int) {
	t.Helper()
	for range n {
		c, err := d.Dial(t.Context(), tlsroute.Route{Name: "echo", ALPN: []string{tlsroute.ALPNTCP}})
		if err != nil {
			t.Fatal(err)
		}
		checkEcho(t, c)
	}
}

// The post-quantum key exchange is left out only where a session is resumed,
// and a proxy that has forgotten the session gets a new handshake with it.
func TestKeyExchange(t *testing.T) {
	h, d := newHandshakes(t)
	check := func(what string, postQuantum, classical, wantFailed int) {
		t.Helper()
		list, failed := h.take()
		if len(list) != postQuantum+classical || failed != wantFailed {
			t.Fatalf("%s: %d handshakes and %d failed, want %d and %d", what, len(list), failed, postQuantum+classical, wantFailed)
		}
		for i, cs := range list {
			if pq := cs.CurveID == tls.X25519MLKEM768; pq != (i < postQuantum) || cs.DidResume != (i > 0) {
				t.Errorf("%s: connection %d: %v, resumed: %v", what, i, cs.CurveID, cs.DidResume)
			}
		}
	}
	const proven = tlsroute.ProvenSessions
	dials(t, d, 1+proven+2)
	check("a new proxy", 1+proven, 2, 0)
	for _, key := range []byte{1, 2} {
		h.cfg.SetSessionTicketKeys([][32]byte{{key}})
		dials(t, d, 1+proven+2)
		check("sessions forgotten", 1+proven, 2, 1)
	}
}

// A proxy that insists on the post-quantum key exchange gets it.
func TestKeyExchangeInsisted(t *testing.T) {
	h, d := newHandshakes(t, tls.X25519MLKEM768)
	dials(t, d, 1+tlsroute.ProvenSessions+2)
	if list, failed := h.take(); len(list) != 1+tlsroute.ProvenSessions+2 || failed != 1 {
		t.Errorf("%d handshakes, and %d failed", len(list), failed)
	}
}

// A proxy that keeps no sessions is never asked for less.
func TestKeyExchangeWithoutSessions(t *testing.T) {
	h, d := newHandshakes(t)
	h.cfg.SessionTicketsDisabled = true
	dials(t, d, tlsroute.ProvenSessions+3)
	list, failed := h.take()
	for _, cs := range list {
		if cs.CurveID != tls.X25519MLKEM768 {
			t.Errorf("key exchange by %v", cs.CurveID)
		}
	}
	if failed != 0 {
		t.Errorf("%d handshakes failed", failed)
	}
}
