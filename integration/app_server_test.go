//go:build linux

package integration

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	crand "crypto/rand"

	"github.com/gorilla/websocket"
)

// appServer is an application of which nothing is between the test and its
// handlers but the network.
var appServer = share(func() (*webApp, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &webApp{addr: ln.Addr().String(), gates: map[string]*appGate{}}
	s := &http.Server{Handler: a.routes()}
	atExit(func() { s.Close() })
	go s.Serve(ln)
	return a, nil
})

type webApp struct {
	addr string

	mu    sync.Mutex
	gates map[string]*appGate
}

// appGate holds one answer of the application: it goes on when the test says so.
type appGate struct {
	id      string
	started chan struct{} // closed when the request is being answered
	begun   atomic.Int32  // how often it was
	open    chan struct{} // a value lets the answer go on by one step
	ended   chan error    // how the request has ended for the application
}

// newAppGate is asked for with ?gate=ID.
func newAppGate(t testing.TB) *appGate {
	t.Helper()
	a := appServer.get(t)
	g := &appGate{id: crand.Text(), started: make(chan struct{}), open: make(chan struct{}), ended: make(chan error, 1)}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gates[g.id] = g
	return g
}

func (a *webApp) gate(r *http.Request) *appGate {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.gates[r.URL.Query().Get("gate")]
}

func (g *appGate) begin() {
	if g.begun.Add(1) == 1 {
		close(g.started)
	}
}

// step waits for the test, or for the end of the request.
func (g *appGate) step(r *http.Request) bool {
	select {
	case <-g.open:
		return true
	case <-r.Context().Done():
		g.ended <- r.Context().Err()
		return false
	}
}

func (a *webApp) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello\n") })
	mux.HandleFunc("/seen", func(w http.ResponseWriter, r *http.Request) {
		if g := a.gate(r); g != nil {
			g.begin()
		}
		serveSeen(w, r)
	})
	mux.HandleFunc("/headers", serveHeaders)
	mux.HandleFunc("/events", a.serveEvents)
	mux.HandleFunc("/flow", a.serveFlow)
	mux.HandleFunc("/hang", a.serveHang)
	mux.HandleFunc("/refuse", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		io.WriteString(w, "too much\n")
	})
	mux.HandleFunc("/status", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.URL.Query().Get("code"))
		w.Header().Set("ETag", `"tag"`)
		w.WriteHeader(code)
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		io.WriteString(w, "hinted\n")
	})
	mux.HandleFunc("/ws", serveWebSocket)
	mux.HandleFunc("/upgrade", serveSum)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawPath != "" || r.URL.Path == "//as/../it/is" { // the mux would redirect
			serveSeen(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// seen is what the application saw of a request.
type seen struct {
	Method, URI, Host string
	Header            http.Header
	Encoding          []string // of the transfer
	Length            int64    // as announced; -1 if it was not
	Size              int64
	Sum               string // SHA-256 of the body
	Trailer           http.Header
	Err               string
}

// serveSeen tells what it sees, and gives request trailers back as trailers.
func serveSeen(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	s := seen{
		Method: r.Method, URI: r.RequestURI, Host: r.Host, Header: r.Header, Encoding: r.TransferEncoding,
		Length: r.ContentLength, Size: n, Sum: hex.EncodeToString(sum.Sum(nil)), Trailer: r.Trailer,
	}
	if err != nil {
		s.Err = err.Error()
	}
	for name := range r.Trailer {
		w.Header().Add("Trailer", "X-Back-"+name)
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(s)
	for name, values := range r.Trailer {
		w.Header()["X-Back-"+name] = values
	}
}

// serveHeaders answers with headers that proxies are tempted to change.
func serveHeaders(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Set-Cookie"] = []string{"a=1; Path=/", "b=2; Secure; HttpOnly"}
	h["Date"] = nil
	h.Set("Server", "an app of its own")
	h.Set("Via", "1.1 nobody")
	h.Set("Content-Encoding", "gzip") // which it is not
	h.Set("Location", "http://127.0.0.1:1/elsewhere")
	h.Set("Strict-Transport-Security", "max-age=1")
	h.Set("X-Empty", "")
	w.WriteHeader(418)
	io.WriteString(w, "short and stout")
}

// serveEvents sends an event for each step, the first one at once.
func (a *webApp) serveEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	g := a.gate(r)
	for i := range 4 {
		if i > 0 && !g.step(r) {
			return
		}
		fmt.Fprintf(w, "id: %d\ndata: event %d\n\n", i, i)
		http.NewResponseController(w).Flush()
	}
}

// flowHalf is what serveFlow sends before the gate, and again behind it.
const flowHalf = 1 << 20

// serveFlow sends one half, waits, and sends the other one; with a length if one
// is asked for.
func (a *webApp) serveFlow(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("length") {
		w.Header().Set("Content-Length", strconv.Itoa(2*flowHalf))
	}
	g := a.gate(r)
	sendNoise(w, flowHalf)
	http.NewResponseController(w).Flush()
	g.begin()
	if g.step(r) {
		sendNoise(w, flowHalf)
	}
}

// serveHang reads the body, and then waits for the end of the client.
func (a *webApp) serveHang(w http.ResponseWriter, r *http.Request) {
	g := a.gate(r)
	g.begin()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		g.ended <- err
		return
	}
	if r.Method == http.MethodPost {
		g.ended <- errors.New("the body is complete")
		return
	}
	g.step(r)
}

// serveWebSocket echoes messages. The text "close CODE" ends it.
func serveWebSocket(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{
		CheckOrigin:  func(*http.Request) bool { return true },
		Subprotocols: []string{"echo"},
	}
	c, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		kind, text, err := c.ReadMessage()
		if err != nil {
			return // ReadMessage has answered the close frame
		}
		var code int
		if n, _ := fmt.Sscanf(string(text[:min(len(text), 20)]), "close %d", &code); n == 1 {
			c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(code, "as asked for"))
			c.ReadMessage() // the other side's close frame
			return
		}
		if c.WriteMessage(kind, text) != nil {
			return
		}
	}
}

// serveSum upgrades to a protocol of its own: what the client sends until it
// half-closes is answered by its SHA-256.
func serveSum(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "sum" {
		http.Error(w, "upgrade to sum", http.StatusUpgradeRequired)
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: sum\r\n\r\nready\n")
	sum := sha256.New()
	if _, err := io.Copy(sum, rw); err != nil {
		reset(c.(*net.TCPConn))
		return
	}
	fmt.Fprintf(c, "%x\n", sum.Sum(nil))
}
