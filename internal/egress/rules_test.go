package egress

import (
	"strings"
	"testing"
)

func TestProxyFor(t *testing.T) {
	for _, tc := range []struct {
		name string
		env  []string
		addr string
		want string // "" is direct
	}{
		{"nothing set", nil, addr, ""},
		{"upper case", []string{"HTTPS_PROXY", "http://p:1"}, addr, "http://p:1"},
		{"lower case", []string{"https_proxy", "http://p:1"}, addr, "http://p:1"},
		{"lower case first", []string{"HTTPS_PROXY", "http://up:1", "https_proxy", "http://low:1"}, addr, "http://low:1"},
		{"https before http", []string{"HTTP_PROXY", "http://h:1", "HTTPS_PROXY", "http://s:1"}, addr, "http://s:1"},
		{"http alone", []string{"HTTP_PROXY", "http://h:1"}, addr, "http://h:1"},
		{"http alone, lower case", []string{"http_proxy", "http://h:1"}, addr, "http://h:1"},
		{"no scheme", []string{"HTTPS_PROXY", "p.example.com:3128"}, addr, "http://p.example.com:3128"},
		{"no scheme, credentials", []string{"HTTPS_PROXY", "alice:secret@p:3128"}, addr, "http://p:3128"},
		{"credentials", []string{"HTTPS_PROXY", "https://alice:secret@p:3128"}, addr, "https://p:3128"},
		{"port of http", []string{"HTTPS_PROXY", "http://p"}, addr, "http://p:80"},
		{"port of https", []string{"HTTPS_PROXY", "https://p"}, addr, "https://p:443"},
		{"port of socks5", []string{"HTTPS_PROXY", "socks5://p"}, addr, "socks5://p:1080"},
		{"socks5h", []string{"HTTPS_PROXY", "socks5h://p"}, addr, "socks5h://p:1080"},
		{"IPv6", []string{"HTTPS_PROXY", "http://[2001:db8::1]:3128"}, addr, "http://[2001:db8::1]:3128"},
		{"NO_PROXY", []string{"HTTPS_PROXY", "http://p:1", "NO_PROXY", "x.com, example.com"}, addr, ""},
		{"no_proxy", []string{"HTTPS_PROXY", "http://p:1", "no_proxy", ".example.com"}, addr, ""},
		{"NO_PROXY for another", []string{"HTTPS_PROXY", "http://p:1", "NO_PROXY", "ample.com"}, addr, "http://p:1"},
		{"NO_PROXY for another port", []string{"HTTPS_PROXY", "http://p:1", "NO_PROXY", "proxy.example.com:80"}, addr, "http://p:1"},
		{"NO_PROXY for all", []string{"HTTPS_PROXY", "http://p:1", "HTTP_PROXY", "http://p:1", "NO_PROXY", "*"}, addr, ""},
		{"NO_PROXY by network", []string{"HTTPS_PROXY", "http://p:1", "NO_PROXY", "10.0.0.0/8"}, "10.1.2.3:443", ""},
		{"localhost", []string{"HTTPS_PROXY", "http://p:1"}, "localhost:3080", ""},
		{"localhost in capitals with a dot", []string{"HTTPS_PROXY", "http://p:1"}, "LocalHost.:3080", ""},
		{"below localhost", []string{"HTTPS_PROXY", "http://p:1"}, "teleport.localhost:3080", ""},
		{"not below localhost", []string{"HTTPS_PROXY", "http://p:1"}, "notlocalhost:3080", "http://p:1"},
		{"127/8", []string{"HTTPS_PROXY", "http://p:1"}, "127.8.9.1:443", ""},
		{"::1", []string{"HTTPS_PROXY", "http://p:1"}, "[::1]:443", ""},
		{"mapped 127/8", []string{"HTTPS_PROXY", "http://p:1"}, "[::ffff:127.0.0.1]:443", ""},
		{"IPv6 target", []string{"HTTPS_PROXY", "http://p:1"}, "[2001:db8::1]:443", "http://p:1"},
		{"broken, but not for loopback", []string{"HTTPS_PROXY", "ftp://p"}, "127.0.0.1:1", ""},
		{"broken, but exempt", []string{"HTTPS_PROXY", "ftp://p", "NO_PROXY", "example.com"}, addr, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u, err := (&Dialer{Getenv: env(tc.env...)}).ProxyFor(tc.addr)
			must(t, err)
			got := ""
			if u != nil {
				got = u.String()
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestBadValues(t *testing.T) {
	for value, want := range map[string]string{
		"ftp://alice:secret@p":        `scheme "ftp"`,
		"http://alice:sec%ret@p:3128": "is not a proxy URL",
		"http://:3128":                "is not a proxy URL",
		"http://alice:secret@p:port":  "is not a proxy URL",
		"alice:secret@p:port":         "is not a proxy URL",
	} {
		d := &Dialer{Getenv: env("HTTPS_PROXY", value)}
		_, err := d.ProxyFor(addr)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "HTTPS_PROXY") {
			t.Errorf("%s: %v", value, err)
			continue
		}
		if strings.Contains(err.Error(), "alice") || strings.Contains(err.Error(), "sec") {
			t.Errorf("%v quotes credentials", err)
		}
		if _, err := d.DialContext(t.Context(), "tcp", addr); err == nil {
			t.Errorf("%s: dialled", value)
		}
	}
	if _, err := (&Dialer{Getenv: env("HTTPS_PROXY", "p:1")}).ProxyFor("no-port"); err == nil {
		t.Error("address without port")
	}
}

func FuzzProxyURL(f *testing.F) {
	for _, s := range []string{"http://u:p@h:1", "h:1", "socks5h://[::1]", "http://u:%zz@h", "://", "%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		v, err := parse("HTTPS_PROXY", value)
		if err != nil {
			return
		}
		if v.host == "" || defaultPorts[v.scheme] == "" || !strings.HasPrefix(v.addr, v.host) && !strings.HasPrefix(v.addr, "["+v.host) {
			t.Errorf("%q gives %+v", value, v)
		}
		// A scheme that is there is never read as a part of something else.
		if strings.Contains(value, "://") && !strings.HasPrefix(strings.ToLower(value), v.scheme+"://") {
			t.Errorf("%q gives %+v", value, v)
		}
	})
}
