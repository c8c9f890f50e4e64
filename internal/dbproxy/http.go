package dbproxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tshx/internal/conn"
)

const (
	httpHead = 64 << 10 // the longest request head that is read
	httpBody = 64 << 10 // how much of an answer's body a ping reads

	httpExcerpt = 300 // how much of an unexpected answer an error shows
)

// httpAnswer is one answer to one request.
type httpAnswer struct {
	status int
	header http.Header // besides what every answer has; may be nil
	body   []byte
}

// httpShape puts a refusal into the form in which the clients of one kind of
// server look for an error's text.
type httpShape func(req *http.Request, r Refusal) httpAnswer

// RefuseHTTP tells an HTTP client r: as JSON if it asks for that, else as text.
// The status is 401 where a login helps and otherwise 502. The caller bounds it
// by a deadline on client and closes client.
func RefuseHTTP(client net.Conn, r Refusal) error {
	if err := refuseHTTP(client, r, anyHTTP); err != nil {
		return err
	}
	if err := conn.CloseWrite(client); err != nil {
		return fmt.Errorf("refuse an HTTP client: %w", err)
	}
	// Closed with bytes unread, TCP would be reset and the answer lost.
	io.Copy(io.Discard, client)
	return nil
}

// refuseHTTP reads one request head and answers it. It waits for no body, which
// is all that "Expect: 100-continue" (RFC 9110, section 10.1.1) asks for.
func refuseHTTP(client net.Conn, r Refusal, shape httpShape) error {
	limited := &io.LimitedReader{R: client, N: httpHead}
	in := bufio.NewReader(limited)
	first, err := in.Peek(1)
	if err != nil {
		return fmt.Errorf("refuse an HTTP client: %w", err)
	}
	if first[0] == tlsHandshake {
		return refuseTLS(client, r)
	}
	req, err := http.ReadRequest(in)
	if err != nil {
		if limited.N > 0 {
			return fmt.Errorf("refuse an HTTP client: %w", err)
		}
		req = &http.Request{Method: http.MethodGet} // longer than anybody reads
	}
	if err := shape(req, r).writeTo(client, req); err != nil {
		return fmt.Errorf("refuse an HTTP client: %w", err)
	}
	return nil
}

func (a httpAnswer) writeTo(w io.Writer, req *http.Request) error {
	header := a.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Cache-Control", "no-store")
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	if a.status == http.StatusUnauthorized {
		// A scheme that no client has, so that none asks for a password.
		header.Set("WWW-Authenticate", "Login")
	}
	var out bytes.Buffer
	err := (&http.Response{
		StatusCode: a.status, ProtoMajor: 1, ProtoMinor: 1, Close: true, Request: req,
		Header: header, ContentLength: int64(len(a.body)), Body: io.NopCloser(bytes.NewReader(a.body)),
	}).Write(&out)
	if err != nil {
		return err
	}
	_, err = w.Write(out.Bytes())
	return err
}

func httpStatus(r Refusal) int {
	if r.Login {
		return http.StatusUnauthorized
	}
	return http.StatusBadGateway
}

func anyHTTP(req *http.Request, r Refusal) httpAnswer { return someHTTP(req, r, httpStatus(r)) }

// strayHTTP is for clients of a server that does not speak HTTP. Those of AWS
// repeat a request for half a minute when the status is in the 500s.
func strayHTTP(req *http.Request, r Refusal) httpAnswer {
	return someHTTP(req, r, http.StatusMisdirectedRequest)
}

func someHTTP(req *http.Request, r Refusal, status int) httpAnswer {
	if strings.Contains(req.Header.Get("Accept"), "json") {
		return jsonAnswer(status, "application/json", map[string]any{"error": r.Text, "status": status})
	}
	return httpAnswer{status, http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, []byte(r.Text + "\n")}
}

// jsonAnswer is an answer with v, which has only strings, numbers, booleans and
// structures of them.
func jsonAnswer(status int, contentType string, v any) httpAnswer {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // people read it
	enc.Encode(v)
	return httpAnswer{status, http.Header{"Content-Type": {contentType}}, body.Bytes()}
}

// speaksHTTP reports whether first is or begins the first line of an HTTP/1
// request: a method of capital letters and a space. The preface of HTTP/2 looks
// the same and is none.
func speaksHTTP(first []byte) bool {
	const longest = len("PROPPATCH")
	if len(first) >= len("PRI ") && speaksHTTP2(first) {
		return false
	}
	for i, b := range first[:min(len(first), longest+1)] {
		if b == ' ' {
			return i > 2
		}
		if b < 'A' || b > 'Z' {
			return false
		}
	}
	return len(first) <= longest
}

// httpURL is the address for programs that take one. For unix sockets it is the
// form that HTTP libraries share.
func httpURL(e Endpoint) string {
	scheme, host := "https", e.Addr()
	if e.Tunnel {
		scheme = "http"
	}
	if e.Socket != "" {
		scheme, host = scheme+"+unix", url.PathEscape(e.Socket)
	}
	return scheme + "://" + host + "/"
}

// curlArgs is a request to an HTTP engine for target, which begins with a
// slash.
func curlArgs(e Endpoint, target string) []string {
	var args []string
	if e.Socket != "" {
		args = []string{"--unix-socket", e.Socket}
	}
	if !e.Tunnel {
		args = append(args, "--cacert", e.Files.CA, "--cert", e.Files.Cert, "--key", e.Files.Key)
	}
	switch {
	case e.Socket == "":
		return append(args, strings.TrimSuffix(httpURL(e), "/")+target)
	case e.Tunnel:
		return append(args, "http://localhost"+target)
	}
	return append(args, "https://localhost"+target)
}

var curl = Client{
	Program: "curl", Install: "Debian package curl",
	Args: func(e Endpoint) []string { return curlArgs(e, "/") }, Env: noProxyEnv,
}

// noProxyEnv keeps HTTP programs from taking our listener to the environment's
// proxy. Some read only one of the names.
func noProxyEnv(e Endpoint) []string {
	hosts := "localhost,127.0.0.1,::1"
	if e.Host != "" {
		hosts += "," + e.Host
	}
	return []string{"NO_PROXY=" + hosts, "no_proxy=" + hosts}
}

// plainTCP limits a program without TLS of its own, and without unix sockets,
// to where it works.
func plainTCP(e Endpoint) bool { return e.Tunnel && e.Socket == "" }
