package survey

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"tshx/internal/balancer"
	"tshx/internal/proxyserver"
	"tshx/internal/upgrade"
)

// What the web API answers is told apart, and of where a login page is only the
// place is told: its parameters may be secret.
func TestWebAnswers(t *testing.T) {
	json := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
	}
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		proxy   string // version; empty: none
		says    string
	}{
		{"proxy", json(`{"server_version":"17.1.2","cluster_name":"c"}`), "17.1.2", ""},
		{"other JSON", json(`{"version":"17.1.2"}`), "", "no access proxy"},
		{"empty JSON", json(`{}`), "", "no access proxy"},
		{"no JSON", json(`hello`), "", "no access proxy"},
		{"redirect", status(302), "", "302 Found to https://login.example.com/start:"},
		{"unauthorized", status(401), "", "401 Unauthorized"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := look(t, website(t, webCertificate(t), tt.handler), nil)
			c := r.Check(HTTP)
			if tt.proxy != "" {
				if c.Status != Passed || r.Proxy == nil || r.Proxy.Version != tt.proxy {
					t.Errorf("%+v, %+v", c, r.Proxy)
				}
				return
			}
			var no *NoProxyError
			if c.Status != Failed || !errors.As(c.Err, &no) || r.Proxy != nil || !strings.Contains(c.Err.Error(), tt.says) || strings.Contains(c.Err.Error(), "secret") {
				t.Errorf("%+v, %+v", c, r.Proxy)
			}
		})
	}
}

// A balancer that speaks HTTP/2 to everybody is told as that.
func TestHTTP2Unasked(t *testing.T) {
	addr := byHand(t, &tls.Config{Certificates: []tls.Certificate{webCertificate(t)}}, func(c net.Conn) {
		io.WriteString(c, "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64")
		c.Read(make([]byte, 1024))
	})
	c := look(t, addr, nil).Check(HTTP)
	var h2 *HTTP2Error
	if !errors.As(c.Err, &h2) || !strings.Contains(c.Proves, "HTTP/1.1") {
		t.Errorf("%+v", c)
	}
}

// What a refused upgrade proves depends on who has refused it, and a rate limit says
// nothing about the method.
func TestRefusalProves(t *testing.T) {
	for want, err := range map[string]error{
		"rate limit":          &upgrade.RefusedError{Status: 429, Proxy: true},
		"without its Upgrade": &upgrade.RefusedError{Status: 404, Proxy: true, Body: "unsupported upgrade types: []"},
		"does not know this":  &upgrade.RefusedError{Status: 404, Proxy: true, Body: "unsupported upgrade types: [websocket]"},
		"reaches the proxy":   &upgrade.RefusedError{Status: 400, Proxy: true},
		"in front of":         &upgrade.RefusedError{Status: 403},
	} {
		if got := refusal(err); !strings.Contains(got, want) {
			t.Errorf("%v: %q", err, got)
		}
	}
	if got := refusal(io.EOF); got != "" {
		t.Errorf("%q", got)
	}
}

// Words that people look for: the version of TLS, the balancer's name, how long
// each check took.
func TestTold(t *testing.T) {
	r := look(t, behind(t, balancer.Options{Upgrades: balancer.UpgradesNone, Refuse: 403, ServerName: "awselb/2.0"}, proxyserver.Options{}), nil)
	if c := r.Check(TLS); !strings.HasPrefix(c.Result, "TLS 1.3, certificate for localhost") {
		t.Errorf("%q", c.Result)
	}
	if list := r.Evidence(); len(list) == 0 || !strings.Contains(list[0], "Server: awselb/2.0") || r.ServerHeader() != "awselb/2.0" || !r.Between() {
		t.Errorf("%q", list)
	}
	for _, c := range r.Checks {
		if (c.Status != Skipped) != (c.Took > 0) {
			t.Errorf("%s took %v", c.Name, c.Took)
		}
	}
}

// Who ends a survey amid it blames nobody for what was under way, and knows nothing
// about what was not tried.
func TestEndedAmid(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	addr, dials := proxy(t, proxyserver.Options{}), 0
	r := Run(ctx, Options{Target: upgrade.Target{
		Addr: addr, Roots: authority().Web.Pool(),
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials++; dials == 2 { // that of the check TLS
				cancel()
				return nil, ctx.Err()
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}})
	if got := outcome(r); got != "ppsssssssss" {
		t.Errorf("outcome %s", got)
	}
	if use := r.Use(Wish{}); use.Works || !errors.Is(use.Err, errNotTried) {
		t.Errorf("%+v", use)
	}
}
