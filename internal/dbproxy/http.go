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
	"slices"
	"strings"
	"time"
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

// refuseHTTP reads one request head and answers it. It waits for no body, which
// is all that "Expect: 100-continue" (RFC 9110, section 10.1.1) asks for.
func refuseHTTP(client net.Conn, r Refusal, shape httpShape) error {
	limited := &io.LimitedReader{R: client, N: httpHead}
	req, err := http.ReadRequest(bufio.NewReader(limited))
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

// httpStatus is r's status where other is that of a failure without a login in
// it.
func httpStatus(r Refusal, other int) int {
	switch {
	case r.WebPage:
		return http.StatusForbidden
	case r.Login:
		return http.StatusUnauthorized
	}
	return other
}

// strayHTTP is for clients of a server that does not speak HTTP: JSON if they
// ask for that, else text. Those of AWS repeat a request for half a minute when
// the status is in the 500s.
func strayHTTP(req *http.Request, r Refusal) httpAnswer {
	const status = http.StatusMisdirectedRequest
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

// httpMethods are those that clients and servers of databases know.
var httpMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}

// speaksHTTP reports whether first has the whole first line of an HTTP/1 request
// (RFC 9112, section 3). Other protocols have lines of words, too, so that
// nothing less is proof.
func speaksHTTP(first []byte) bool {
	line, _, ended := strings.Cut(strings.TrimLeft(string(first), "\r\n"), "\n")
	method, rest, _ := strings.Cut(line, " ")
	target, version, _ := strings.Cut(rest, " ")
	return ended && slices.Contains(httpMethods, method) && strings.HasPrefix(version, "HTTP/1.") &&
		(target == "*" || strings.HasPrefix(target, "/") || strings.HasPrefix(target, "http://") || strings.HasPrefix(target, "https://"))
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
// slash. It ends with an error where the answer is one.
func curlArgs(e Endpoint, target string) []string {
	args := []string{"-sS", "--fail-with-body", "--noproxy", "*"}
	if e.Socket != "" {
		args = append(args, "--unix-socket", e.Socket)
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
	Args: func(e Endpoint) []string { return curlArgs(e, "/") },
}

// noProxyEnv keeps HTTP programs from taking our listener to the environment's
// proxy. Some read only one of the names.
func noProxyEnv(e Endpoint) []string {
	hosts := "localhost,127.0.0.1,::1"
	if e.Host != "" && !slices.Contains(strings.Split(hosts, ","), e.Host) {
		hosts += "," + e.Host
	}
	return []string{"NO_PROXY=" + hosts, "no_proxy=" + hosts}
}

// plainTCP limits a program without TLS of its own, and without unix sockets,
// to where it works.
func plainTCP(e Endpoint) bool { return e.Tunnel && e.Socket == "" }
