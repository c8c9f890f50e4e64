package dbproxy

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// WebPageError says that a request comes from a web page in the user's browser,
// or cannot be told from one. Pages reach every port of this machine, and a
// tunnel would show the user's certificate for them.
type WebPageError struct {
	Database string
	// Header is the field of the request that says so, and Value what is in it.
	// Both are empty for a head that is longer than anybody reads.
	Header, Value string
}

func (e *WebPageError) Error() string {
	if e.Header == "" {
		return fmt.Sprintf("database %q is not for web pages, and the head of the request is too long to tell", e.Database)
	}
	const longest = 100
	return fmt.Sprintf("database %q is not for web pages, and the request's %s is %q",
		e.Database, e.Header, e.Value[:min(len(e.Value), longest)])
}

// Hint says how such a request gets through.
func (e *WebPageError) Hint() string {
	if e.Header == hostHeader {
		return "ask for 127.0.0.1 or localhost, or add --allow-web-pages"
	}
	return "if it is meant to get through, add --allow-web-pages"
}

const (
	hostHeader   = "Host"
	originHeader = "Origin"
	siteHeader   = "Sec-Fetch-Site"
)

// keepsPagesOut reports whether the requests of web pages must not get through.
// They reach no unix socket.
func (u *Upstream) keepsPagesOut(client net.Conn) bool {
	return u.Tunnel && u.Engine.Web && !u.AnyPage && client.LocalAddr().Network() != "unix"
}

// judgePage returns a *WebPageError for a request that a web page may have made a
// browser send: to a name that somebody else may have pointed at this machine,
// or from another origin (Fetch standard, "Origin header"; Fetch Metadata
// Request Headers, section 2.4).
func (u *Upstream) judgePage(client net.Conn, first []byte) error {
	if !u.keepsPagesOut(client) {
		return nil
	}
	if len(first) >= httpHead && !headEnds(first) {
		return &WebPageError{Database: u.Database}
	}
	host := strings.Join(headerValues(first, hostHeader), ",") // two are as good as none
	foreign := func(header string, is func(string) bool) error {
		for _, v := range headerValues(first, header) {
			if is(v) {
				return &WebPageError{u.Database, header, v}
			}
		}
		return nil
	}
	if err := foreign(hostHeader, func(v string) bool { return !ownName(v) }); err != nil {
		return err
	}
	if err := foreign(originHeader, func(v string) bool { return !sameHost(v, host) }); err != nil {
		return err
	}
	return foreign(siteHeader, func(v string) bool { return v == "cross-site" || v == "same-site" })
}

// mayBeRequest reports whether first begins with text, as a request does.
func mayBeRequest(first []byte) bool {
	line, _, _ := bytes.Cut(bytes.TrimLeft(first, "\r\n"), []byte("\n"))
	return !bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\r' && r != '\t' })
}

// headEnds reports whether first has all of a request's head.
func headEnds(first []byte) bool {
	first = bytes.TrimLeft(first, "\r\n")
	return bytes.Contains(first, []byte("\n\r\n")) || bytes.Contains(first, []byte("\n\n"))
}

// headerValues returns the values of a field in the whole lines of a request's
// head.
func headerValues(first []byte, name string) []string {
	var values []string
	lines := strings.SplitAfter(strings.TrimLeft(string(first), "\r\n"), "\n")
	for _, line := range lines[1:] {
		text, ended := strings.CutSuffix(line, "\n")
		if text = strings.TrimSuffix(text, "\r"); !ended || text == "" {
			break
		}
		if key, value, _ := strings.Cut(text, ":"); strings.EqualFold(strings.TrimSpace(key), name) {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}

// ownName reports whether a Host is one that nobody on the internet can point at
// this machine: an address, a name without a dot, or localhost (RFC 6761,
// section 6.3). A request without a host is no browser's.
func ownName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	if _, err := netip.ParseAddr(host); err == nil || !strings.Contains(host, ".") {
		return true
	}
	name := strings.TrimSuffix(host, ".")
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// sameHost reports whether an Origin has this host, with its port.
func sameHost(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}
