package upgrade

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"tshx/internal/plain"
)

// RefusedError is an answer to an upgrade request that does not switch
// protocols, or switches in a way that cannot be trusted. Its texts come from
// the network and are cut and cleaned for a terminal.
type RefusedError struct {
	Addr     string // the target
	Kind     Kind
	Method   Method
	Status   int    // of the answer; 101 only together with Reason
	Server   string // its Server header; may be empty
	Location string // its Location header without the query; may be empty
	Body     string // one line out of its body; may be empty
	Reason   string // what is wrong with a 101
	Proxy    bool   // the body has the form of the access proxy itself, not of a balancer
}

// Error gives one line without advice; Hint has that.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s refused the %s upgrade: %s", e.Addr, e.Method, e.answer())
}

// answer is the part that differs between two attempts at one target.
func (e *RefusedError) answer() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", e.Status)
	if text := http.StatusText(e.Status); text != "" {
		b.WriteString(" " + text)
	}
	if e.Location != "" {
		b.WriteString(" to " + e.Location)
	}
	if e.Server != "" {
		b.WriteString(" (Server: " + e.Server + ")")
	}
	if e.Reason != "" {
		b.WriteString(", " + e.Reason)
	}
	if e.Body != "" && e.Body != fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status)) {
		b.WriteString(": " + e.Body)
	}
	return b.String()
}

// AttemptsError says that both methods failed.
type AttemptsError struct {
	WebSocket error
	Legacy    error
}

func (e *AttemptsError) Error() string {
	ws, ok1 := e.WebSocket.(*RefusedError)
	legacy, ok2 := e.Legacy.(*RefusedError)
	if ok1 && ok2 {
		return fmt.Sprintf("%s refused the connection upgrade: websocket: %s; legacy: %s", ws.Addr, ws.answer(), legacy.answer())
	}
	return fmt.Sprintf("%v; then %v", e.WebSocket, e.Legacy)
}

func (e *AttemptsError) Unwrap() []error { return []error{e.WebSocket, e.Legacy} }

// newRefused describes resp and reads a little of its body.
func newRefused(addr string, kind Kind, method Method, resp *http.Response) *RefusedError {
	e := &RefusedError{
		Addr: addr, Kind: kind, Method: method, Status: resp.StatusCode,
		Server: plain.Line(resp.Header.Get("Server"), 60),
	}
	if u, err := url.Parse(resp.Header.Get("Location")); err == nil {
		// Queries and user parts of a login redirect can hold secrets.
		e.Location = plain.Line((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String(), 80)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
		e.Body, e.Proxy = gist(string(body))
	}
	return e
}

// gist returns the message in a body, and whether the body has the form in
// which the access proxy reports errors.
func gist(body string) (line string, proxy bool) {
	var doc struct {
		Error struct {
			Message *string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal([]byte(body), &doc) == nil && doc.Error.Message != nil {
		return plain.Line(*doc.Error.Message, maxLine), true
	}
	if strings.HasPrefix(strings.TrimSpace(body), "<") {
		_, rest, _ := strings.Cut(body, "<title>")
		title, _, found := strings.Cut(rest, "</title>")
		if !found {
			return "", false
		}
		body = title
	}
	return plain.Line(body, maxLine), false
}

// maxLine is the length of a body's gist, in characters.
const maxLine = 160
