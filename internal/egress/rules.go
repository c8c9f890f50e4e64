package egress

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

const (
	schemeHTTP    = "http"
	schemeHTTPS   = "https"
	schemeSOCKS5  = "socks5"
	schemeSOCKS5H = "socks5h"
)

// defaultPorts also lists the schemes that are understood. Both socks schemes
// leave the name lookup to the proxy.
var defaultPorts = map[string]string{
	schemeHTTP: "80", schemeHTTPS: "443", schemeSOCKS5: "1080", schemeSOCKS5H: "1080",
}

// via is one forward proxy.
type via struct {
	scheme, host, addr string
	user               *url.Userinfo // nil: no credentials
	variable           string        // the environment variable that names it
}

// rules answers from the environment which proxy an address needs.
type rules struct {
	getenv func(string) string
}

// first returns the first variable of names with a value.
func (r rules) first(names ...string) (name, value string) {
	for _, n := range names {
		if v := r.getenv(n); v != "" {
			return n, v
		}
	}
	return "", ""
}

// find returns the proxy for addr, or nil. The address is asked for as an
// https URL first and as an http URL then (docs/protocol.md, "HTTP proxies").
//
// httpproxy silently dials directly when a value does not parse. A user who
// set a proxy rather wants to hear of the typing error, so httpproxy only
// decides whether a variable applies, and the value is parsed here.
func (r rules) find(addr string) (*via, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if isLoopback(host) {
		return nil, nil
	}
	const set = "http://set.invalid"
	var cfg httpproxy.Config
	_, cfg.NoProxy = r.first("no_proxy", "NO_PROXY")
	httpsName, httpsValue := r.first("https_proxy", "HTTPS_PROXY")
	if httpsValue != "" {
		cfg.HTTPSProxy = set
	}
	httpName, httpValue := r.first("http_proxy", "HTTP_PROXY")
	if httpValue != "" {
		cfg.HTTPProxy = set
	}
	if httpsValue == "" && httpValue == "" {
		return nil, nil
	}
	applies := cfg.ProxyFunc()
	if u, _ := applies(&url.URL{Scheme: schemeHTTPS, Host: addr}); u != nil {
		return parse(httpsName, httpsValue)
	}
	if u, _ := applies(&url.URL{Scheme: schemeHTTP, Host: addr}); u != nil {
		return parse(httpName, httpValue)
	}
	return nil, nil
}

// parse reads the value of a proxy variable; a missing scheme means http. The
// value can hold a password, so no error quotes it.
func parse(name, value string) (*via, error) {
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" {
		return nil, fmt.Errorf("%s is not a proxy URL such as http://user:password@proxy.example.com:3128", name)
	}
	port, ok := defaultPorts[u.Scheme]
	if !ok {
		return nil, fmt.Errorf("%s names a proxy of the unknown scheme %q: http, https and socks5 are supported", name, u.Scheme)
	}
	if p := u.Port(); p != "" {
		port = p
	}
	host := u.Hostname()
	return &via{scheme: u.Scheme, host: host, addr: net.JoinHostPort(host, port), user: u.User, variable: name}, nil
}

// isLoopback reports whether host is this machine by name (RFC 6761, section
// 6.3) or by address.
func isLoopback(host string) bool {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
