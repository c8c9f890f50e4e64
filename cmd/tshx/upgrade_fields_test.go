package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"tshx/internal/lab"
	"tshx/internal/survey"
	"tshx/internal/upgrade"
)

// What scripts read of certificates and of what stands in between is there.
func TestUpgradeReportFields(t *testing.T) {
	r := surveyWith(upgrade.Verdict{Required: true, Evidence: upgrade.EvidenceNoALPN}, map[string]error{survey.Raw: errors.New("no protocol negotiated")})
	r.Server = "nginx"
	r.Public = &survey.Certificate{Issuer: "ca", Problem: errors.New("unknown\nauthority")}
	r.Host = &survey.Certificate{Issuer: "cluster", Verified: true}
	env, _ := testEnv()
	u := newUpgradeReport(env, &upgradeTarget{httpProxy: "http://127.0.0.1:3128", cluster: "c"}, r)
	switch {
	case !u.Balancer.Found || deref(u.Balancer.Server) != "nginx" || len(u.Balancer.Evidence) == 0:
		t.Errorf("balancer %+v", u.Balancer)
	case u.Public.Verified || deref(u.Public.Problem) != "unknown; authority":
		t.Errorf("public certificate %+v", u.Public)
	case !u.Host.Verified || u.Host.Problem != nil:
		t.Errorf("host certificate %+v", u.Host)
	case deref(u.HTTPProxy) != "http://127.0.0.1:3128" || deref(u.Login) != "c":
		t.Errorf("through %v, login %v", u.HTTPProxy, u.Login)
	}
}

// forwardProxy is one that leads everywhere to one address, and counts.
type forwardProxy struct {
	net.Listener
	to string
	wg sync.WaitGroup

	mu    sync.Mutex
	asked []string
}

func (p *forwardProxy) serve() {
	for {
		c, err := p.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() {
			defer c.Close()
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", p.to)
			if err != nil {
				return
			}
			defer up.Close()
			p.mu.Lock()
			p.asked = append(p.asked, r.Method+" "+r.Host)
			p.mu.Unlock()
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
			p.wg.Go(func() { io.Copy(up, c); up.Close() })
			io.Copy(c, up)
		})
	}
}

// The survey goes the way that tshx goes: through the forward proxy of the
// environment, and says so.
func TestUpgradeThroughForwardProxy(t *testing.T) {
	a := newAppsLab(t, lab.HomeOptions{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &forwardProxy{Listener: ln, to: a.lab.Addr}
	p.wg.Go(p.serve)
	defer p.wg.Wait()
	defer ln.Close()
	t.Setenv("HTTPS_PROXY", "http://user:word@"+ln.Addr().String())
	for _, name := range []string{"https_proxy", "NO_PROXY", "no_proxy"} {
		t.Setenv(name, "")
	}
	code, out, talk := a.tshx("upgrade", "test", "proxy.invalid:443", "--insecure", "-f", "json")
	var report struct {
		HTTPProxy string `json:"http_proxy"`
		Use       struct{ Works bool }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 || !report.Use.Works || report.HTTPProxy != "http://"+ln.Addr().String() {
		t.Errorf("%d, %v, %+v\n%s%s", code, err, report, out, talk)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.asked) < 5 || p.asked[0] != "CONNECT proxy.invalid:443" {
		t.Errorf("asked %q", p.asked)
	}
}

// Pings are waited for where that is asked for, and only there.
func TestUpgradeWaitsForPings(t *testing.T) {
	l, err := lab.Start(t.Context(), lab.Config{PingInterval: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	appsEnv(t, t.TempDir())
	for _, flags := range [][]string{nil, {"--wait-ping"}} {
		_, out, talk := runLine(t, append([]string{"upgrade", "test", l.Addr, "--insecure", "-f", "json"}, flags...)...)
		var report struct {
			Checks []struct{ Name, Status string }
		}
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatalf("%v: %s%s", err, out, talk)
		}
		pings := 0
		for _, c := range report.Checks {
			if (c.Name == survey.WebSocketPinged || c.Name == survey.LegacyPinged) && c.Status == "passed" {
				pings++
			}
		}
		if pings != 2*len(flags) {
			t.Errorf("%q: %d pings in %+v", flags, pings, report.Checks)
		}
	}
}
