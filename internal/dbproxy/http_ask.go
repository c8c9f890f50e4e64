package dbproxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// httpReply is what a server answered to a ping.
type httpReply struct {
	status int
	header http.Header
	body   []byte // the first httpBody bytes
	took   time.Duration
}

// askHTTP sends one request on c and reads the answer.
func askHTTP(ctx context.Context, c net.Conn, method, target, body string, header http.Header) (httpReply, error) {
	// The proxy knows the database's own name and puts it in.
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+target, strings.NewReader(body))
	if err != nil {
		return httpReply{}, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", "tshx")
	start := time.Now()
	if err := req.Write(c); err != nil {
		return httpReply{}, fmt.Errorf("send the request: %w", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(c, httpHead+httpBody)), req)
	if err != nil {
		return httpReply{}, fmt.Errorf("read the HTTP answer: %w", err)
	}
	took := time.Since(start)
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, httpBody))
	if err != nil {
		return httpReply{}, fmt.Errorf("read the HTTP answer: %w", err)
	}
	return httpReply{resp.StatusCode, resp.Header, text, took}, nil
}

// ReplyError says that a server answered a ping with something else than the
// engine's own greeting.
type ReplyError struct {
	Engine string // the title of the engine that was expected
	Status int    // of HTTP
	Text   string // the beginning of what it said, from outside
}

func (e *ReplyError) Error() string {
	return fmt.Sprintf("this is no answer of %s: HTTP status %d: %s", e.Engine, e.Status, e.Text)
}

func (a httpReply) unexpected(engine string) error {
	return &ReplyError{Engine: engine, Status: a.status, Text: strings.TrimSpace(string(a.body[:min(len(a.body), httpExcerpt)]))}
}
