package dbproxy

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"tshx/internal/tlsroute"
)

var clickhouseHTTP = Engine{
	Protocol:   "clickhouse-http",
	Title:      "ClickHouse over HTTP",
	Wire:       "HTTP",
	ALPN:       tlsroute.ALPNClickHouse,
	TunnelOnly: true,
	Clients: []Client{{
		Program: "curl", Install: "Debian package curl",
		Args: func(e Endpoint) []string {
			return curlArgs(e, clickhouseQuery(e, url.Values{"query": {"SELECT version()"}}))
		},
	}},
	URL:     clickhouseHTTPURL,
	Env:     func(e Endpoint) []string { return []string{"CLICKHOUSE_URL=" + clickhouseHTTPURL(e)} },
	Sockets: anySocket,
	Web:     true,
	Speaks:  speaksHTTP,
	Refuse:  func(client net.Conn, r Refusal) error { return refuseHTTP(client, r, clickhouseShape) },
	Ping:    clickhouseHTTPPing,
}

func clickhouseHTTPURL(e Endpoint) string {
	return strings.TrimSuffix(httpURL(e), "/") + clickhouseQuery(e, url.Values{})
}

// clickhouseQuery is the target of a request on behalf of the endpoint's user.
func clickhouseQuery(e Endpoint, q url.Values) string {
	if e.User != "" {
		q.Set("user", e.User)
	}
	if e.Name != "" {
		q.Set("database", e.Name)
	}
	if len(q) == 0 {
		return "/"
	}
	return "/?" + q.Encode()
}

// clickhouseShape is an exception as the HTTP interface shows it.
func clickhouseShape(_ *http.Request, r Refusal) httpAnswer {
	code, text := clickhouseWords(r)
	number := strconv.Itoa(code)
	return httpAnswer{httpStatus(r, http.StatusBadGateway), http.Header{
		"Content-Type":                {"text/plain; charset=UTF-8"},
		"X-Clickhouse-Exception-Code": {number},
	}, []byte("Code: " + number + ". " + text + "\n")}
}

// clickhouseHTTPPing asks for the version, as the user of at and without a
// password, which the proxy adds if there is one.
func clickhouseHTTPPing(ctx context.Context, c net.Conn, at Endpoint) (Pong, error) {
	target := clickhouseQuery(at, url.Values{"query": {"SELECT version()"}})
	reply, err := askHTTP(ctx, c, http.MethodGet, target, "", nil)
	if err != nil {
		return Pong{}, err
	}
	pong := Pong{RoundTrip: reply.took}
	text := strings.TrimSpace(string(reply.body))
	if reply.status == http.StatusOK && clickhouseVersion(text) {
		pong.Version = text
		return pong, nil
	}
	code := clickhouseCode(reply.header, text)
	if code == "" {
		return Pong{}, reply.unexpected("ClickHouse")
	}
	said := &ServerError{Code: code, Text: text[:min(len(text), httpExcerpt)]}
	if !clickhouseLogin(said) {
		return Pong{}, said
	}
	pong.Note = "the server wants a password"
	return pong, nil
}

// clickhouseCode is the number of an exception, which old servers tell only at
// the beginning of its text: "Code: 192, e.displayText() = ...".
func clickhouseCode(header http.Header, text string) string {
	if code := header.Get("X-Clickhouse-Exception-Code"); code != "" {
		return code
	}
	rest, ok := strings.CutPrefix(text, "Code: ")
	end := strings.IndexAny(rest, ",.")
	if !ok || end < 0 {
		return ""
	}
	if _, err := strconv.ParseUint(rest[:end], 10, 16); err != nil {
		return ""
	}
	return rest[:end]
}

// clickhouseVersion reports whether text can be a version: "24.3.1.2672".
func clickhouseVersion(text string) bool {
	return text != "" && len(text) < 64 && text[0] >= '0' && text[0] <= '9' && !strings.ContainsAny(text, "\r\n<>{")
}
