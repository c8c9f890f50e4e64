package upgrade

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"tshx/internal/conn"
)

// Handler is the server half: the http.Handler for Path and PathV1. It answers
// both methods over HTTP/1.1 and hands the stream on.
//
// ServeHTTP returns when the stream is closed, not when Serve returns: Serve
// may pass it on to others, and the last of them must close it. Hijacked
// connections are unknown to http.Server.Shutdown; they end with the request's
// context (http.Server.BaseContext) or with Shutdown.
type Handler struct {
	// Serve takes over the stream. Its ctx ends when the stream is closed and
	// at shutdown, which closes the stream as well. RemoteAddr of the stream is
	// the request's, as a trusted X-Forwarded-For may have set it.
	Serve func(ctx context.Context, c net.Conn)
	// NoWebSocket answers as proxies did before they knew WebSocket: of the
	// Upgrade headers alone, the first known one decides.
	NoWebSocket bool
	// NoLegacy takes WebSocket only.
	NoLegacy bool
	// PingInterval is the time between the pings of an alpn-ping stream. Zero
	// means the package's PingInterval.
	PingInterval time.Duration
	// Log takes one line per refused or broken upgrade. Nil logs nothing.
	Log *slog.Logger

	streams streams
}

// wantWebSocket stands in a list of kinds for a WebSocket, which names its kind
// as the subprotocol.
const wantWebSocket Kind = "websocket"

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		h.refuse(w, r, http.StatusMethodNotAllowed, "connection upgrade takes GET only")
		return
	}
	asked := h.asked(r.Header)
	kind, ok := h.choose(asked)
	if !ok {
		h.refuse(w, r, http.StatusNotFound, fmt.Sprintf("unsupported upgrade types: %v", asked))
		return
	}
	leave, ok := h.streams.enter()
	if !ok {
		h.refuse(w, r, http.StatusServiceUnavailable, "shutting down")
		return
	}
	defer leave()
	if kind == wantWebSocket {
		h.serveWebSocket(w, r)
		return
	}
	h.serveLegacy(w, r, kind)
}

// asked lists what the client would take, in header order.
func (h *Handler) asked(header http.Header) []string {
	list := slices.Collect(headerTokens(header, "Upgrade"))
	if h.NoWebSocket {
		return list
	}
	return slices.AppendSeq(list, headerTokens(header, headerUpgrade))
}

func (h *Handler) choose(asked []string) (Kind, bool) {
	wants := func(k Kind) bool {
		return slices.ContainsFunc(asked, func(s string) bool { return strings.EqualFold(s, string(k)) })
	}
	if h.NoWebSocket {
		for _, s := range asked {
			if k := Kind(strings.ToLower(s)); k == ALPN || k == ALPNPing {
				return k, !h.NoLegacy
			}
		}
		return "", false
	}
	known := []Kind{wantWebSocket, ALPNPing, ALPN}
	if h.NoLegacy {
		known = known[:1]
	}
	i := slices.IndexFunc(known, wants)
	if i < 0 {
		return "", false
	}
	return known[i], true
}

func (h *Handler) serveLegacy(w http.ResponseWriter, r *http.Request, kind Kind) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		h.refuse(w, r, http.StatusBadRequest, "connection upgrade needs HTTP/1.1")
		return
	}
	c.SetDeadline(time.Now().Add(HandshakeTimeout))
	answer := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + string(kind) + "\r\n"
	if !h.NoWebSocket {
		answer += headerUpgrade + ": " + string(kind) + "\r\n"
	}
	if _, err := c.Write([]byte(answer + "\r\n")); err != nil {
		c.Close()
		h.log(r, "upgrade answer not sent", err)
		return
	}
	c.SetDeadline(time.Time{}) // those of the HTTP server too
	ahead, _ := rw.Reader.Peek(rw.Reader.Buffered())
	c = conn.Buffered(conn.Rewrapped(c), ahead)
	if kind != ALPNPing {
		h.serve(r, c)
		return
	}
	pc := NewPingConn(c)
	pc.StartPings(h.pingInterval())
	h.serve(r, pc)
}

func (h *Handler) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{
		HandshakeTimeout: HandshakeTimeout,
		ReadBufferSize:   wsHandshakeBuffer,
		WriteBufferSize:  wsHandshakeBuffer,
		Subprotocols:     subprotocol(r),
		CheckOrigin:      func(*http.Request) bool { return true }, // not a browser's endpoint
		Error: func(w http.ResponseWriter, r *http.Request, status int, reason error) {
			h.refuse(w, r, status, reason.Error())
		},
	}
	hj := &hijacker{ResponseWriter: w}
	ws, err := up.Upgrade(hj, r, nil)
	if err != nil {
		if hj.conn != nil { // otherwise refused and logged
			h.log(r, "upgrade failed", err)
		}
		return
	}
	hj.conn.SetDeadline(time.Time{}) // those of the HTTP server and of the handshake
	c := newWSConn(conn.Rewrapped(hj.conn), false)
	switch Kind(ws.Subprotocol()) {
	case ALPNPing:
		c.startPings(h.pingInterval())
	case ALPN:
	default:
		c.closeWith(websocket.CloseUnsupportedData, "unsupported subprotocol")
		h.log(r, "upgrade refused", errors.New("no known WebSocket subprotocol"))
		return
	}
	h.serve(r, c)
}

// subprotocol picks the best of those that a request offers.
func subprotocol(r *http.Request) []string {
	offered := websocket.Subprotocols(r)
	for _, kind := range []Kind{ALPNPing, ALPN} {
		if slices.Contains(offered, string(kind)) {
			return []string{string(kind)}
		}
	}
	return nil
}

// hijacker lets gorilla/websocket hijack through wrapped ResponseWriters, and
// keeps the connection that it got.
type hijacker struct {
	http.ResponseWriter
	conn net.Conn
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn = c
	return c, rw, nil
}

func (h *Handler) pingInterval() time.Duration {
	if h.PingInterval > 0 {
		return h.PingInterval
	}
	return PingInterval
}

// refuse answers in the form in which the access proxy reports errors.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, status int, message string) {
	var doc struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	doc.Error.Message = message
	body, _ := json.MarshalIndent(doc, "", "    ")
	header := w.Header()
	for _, f := range [][2]string{
		{"Cache-Control", "no-cache, no-store, must-revalidate"},
		{"Content-Type", "application/json"},
		{"Expires", "0"},
		{"Pragma", "no-cache"},
		{"Referrer-Policy", "strict-origin"},
		{"Strict-Transport-Security", "max-age=31536000; includeSubDomains"},
		{"X-Content-Type-Options", "nosniff"},
		{"X-Frame-Options", "SAMEORIGIN"},
		{"X-Xss-Protection", "1; mode=block"},
	} {
		header.Set(f[0], f[1])
	}
	w.WriteHeader(status)
	w.Write(body)
	h.log(r, "upgrade refused", errors.New(message))
}

func (h *Handler) log(r *http.Request, text string, err error) {
	if h.Log != nil {
		h.Log.Info(text, "remote", r.RemoteAddr, "err", err)
	}
}
