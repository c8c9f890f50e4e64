package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"tshx/internal/program"
	"tshx/internal/survey"
	"tshx/internal/upgrade"
)

// The example in the document is what is printed: no key more, and none less.
func TestUpgradeDocument(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(moduleRoot, "docs/upgrade.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "```json\n")
	example, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("no example")
	}
	d := json.NewDecoder(strings.NewReader(example))
	d.DisallowUnknownFields()
	var r upgradeReport
	if err := d.Decode(&r); err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	if err := r.json(&printed); err != nil {
		t.Fatal(err)
	}
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
	if squeeze(printed.String()) != squeeze(example) {
		t.Errorf("the example is not what is printed:\n%s", printed.String())
	}
	if r.Schema != upgradeSchema {
		t.Errorf("schema %d, want %d", r.Schema, upgradeSchema)
	}
	for name := range upgradeTitles {
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("the document does not know %s", name)
		}
	}
}

func TestProxyAddress(t *testing.T) {
	for arg, want := range map[string]string{
		"proxy.example.com": "proxy.example.com:443", "proxy.example.com:3080": "proxy.example.com:3080",
		"https://proxy.example.com/": "proxy.example.com:443", "https://proxy.example.com:3080": "proxy.example.com:3080",
		"127.0.0.1": "127.0.0.1:443", "::1": "[::1]:443", "[::1]": "[::1]:443", "[::1]:3080": "[::1]:3080",
		"": "", "host:": "", "host:0": "", "host:70000": "", "host:web": "", "user@host": "",
		"https://proxy.example.com:3080/web/login?redirect_uri=https://other:1/": "proxy.example.com:3080", "proxy.example.com/webapi/connectionupgrade": "proxy.example.com:443",
		"HTTPS://proxy.example.com#top": "proxy.example.com:443", "https://": "", "https:///web": "", "ssh://host": "", "https://user@host/": "", "/web": "",
		"a:b:c": "", ":443": "",
		"http://host": "", "a b": "", "[::1": "", "::1]": "", "[host": "", "[host]": "", "a\x1b[2Jb": "", "a\u00a0b": "", "h:4 4": "", "[::1%lo]:1": "[::1%lo]:1",
	} {
		addr, err := proxyAddress(arg)
		var usage *program.UsageError
		switch {
		case want == "" && !errors.As(err, &usage):
			t.Errorf("%q: %q, %v", arg, addr, err)
		case want != "" && (err != nil || withWebPort(addr) != want):
			t.Errorf("%q: %q, %v; want %q", arg, addr, err, want)
		}
	}
}

// report is a survey in which the named checks have failed, and all others passed.
func surveyWith(verdict upgrade.Verdict, failed map[string]error) *survey.Report {
	r := &survey.Report{Raw: verdict, Public: &survey.Certificate{Verified: true}, Proxy: &survey.Proxy{}}
	for _, name := range []string{survey.DNS, survey.TCP, survey.TLS, survey.Raw, survey.HostCertificate, survey.FrontALPN, survey.HTTP,
		survey.WebSocketPing, survey.WebSocket, survey.LegacyPing, survey.Legacy} {
		c := survey.Check{Name: name, Status: survey.Passed}
		if err := failed[name]; err != nil {
			c.Status, c.Err = survey.Failed, err
		}
		r.Checks = append(r.Checks, c)
	}
	return r
}

// Whatever hangs up or babbles, there is something to do.
func TestUpgradeAdviceWithoutTLS(t *testing.T) {
	for _, err := range []error{io.EOF, syscall.ECONNRESET, tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}} {
		r := surveyWith(upgrade.Verdict{Evidence: upgrade.EvidenceError}, map[string]error{survey.TLS: err})
		r.Public, r.Proxy = nil, nil
		for i := range r.Checks[3:] {
			r.Checks[3+i].Status = survey.Skipped
		}
		use := r.Use(survey.Wish{})
		if advice := upgradeAdvice(r, survey.Wish{}, use); use.Works || len(advice) != 1 || !strings.Contains(advice[0], "web port") {
			t.Errorf("%v: works: %v, advice %q", err, use.Works, advice)
		}
	}
}

func TestUpgradeAdvice(t *testing.T) {
	yes, no := true, false
	lost := errors.New("no protocol negotiated")
	refused := func(m upgrade.Method, status int, proxy bool) error {
		return &upgrade.RefusedError{Method: m, Kind: upgrade.ALPN, Status: status, Proxy: proxy, Server: "nginx"}
	}
	required := upgrade.Verdict{Required: true, Evidence: upgrade.EvidenceNoALPN}
	late := errors.New("no complete answer")
	for _, tt := range []struct {
		name    string
		verdict upgrade.Verdict
		failed  map[string]error
		wish    survey.Wish
		way     string
		works   bool
		first   string // of the advice
	}{
		{"raw", upgrade.Verdict{}, nil, survey.Wish{}, "raw", true, "nothing has to change"},
		{"forced without need", upgrade.Verdict{}, nil, survey.Wish{Upgrade: &yes}, "websocket", true, "would use raw"},
		{"forced raw", required, map[string]error{survey.Raw: lost}, survey.Wish{Upgrade: &no}, "raw", false, "unset TELEPORT_TLS_ROUTING_CONN_UPGRADE: then tshx uses websocket"},
		{"forced legacy", required, map[string]error{survey.Raw: lost, survey.LegacyPing: refused(upgrade.Legacy, 404, true)},
			survey.Wish{Method: upgrade.Legacy}, "upgrade", false, "unset TELEPORT_TLS_ROUTING_CONN_UPGRADE_MODE: then tshx uses websocket"},
		{"websocket hangs", required, map[string]error{survey.Raw: lost, survey.WebSocketPing: late}, survey.Wish{}, "upgrade", false,
			"set TELEPORT_TLS_ROUTING_CONN_UPGRADE_MODE=legacy"},
		{"the proxy hangs up on the test", upgrade.Verdict{Evidence: upgrade.EvidenceError}, map[string]error{survey.Raw: lost}, survey.Wish{}, "raw", false,
			"set TELEPORT_TLS_ROUTING_CONN_UPGRADE=yes"},
		{"websocket refused on the way", required, map[string]error{survey.Raw: lost, survey.WebSocketPing: refused(upgrade.WebSocket, 403, false)},
			survey.Wish{}, "legacy", true, "allow WebSocket upgrades"},
		{"old proxy", required, map[string]error{survey.Raw: lost, survey.WebSocketPing: &upgrade.RefusedError{Status: 404, Proxy: true, Body: "unsupported upgrade types: [websocket]"}},
			survey.Wish{}, "legacy", true, "update it"},
		{"rate limit", required, map[string]error{survey.Raw: lost, survey.WebSocketPing: refused(upgrade.WebSocket, 429, false), survey.LegacyPing: refused(upgrade.Legacy, 429, false)},
			survey.Wish{}, "upgrade", false, "a rate limit was hit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := surveyWith(tt.verdict, tt.failed)
			use := r.Use(tt.wish)
			if use.Way() != tt.way || use.Works != tt.works {
				t.Errorf("use %+v, want %s", use, tt.way)
			}
			advice := upgradeAdvice(r, tt.wish, use)
			if len(advice) == 0 || !strings.Contains(advice[0], tt.first) || slices.Contains(advice, "") {
				t.Errorf("advice %q, want %q first", advice, tt.first)
			}
		})
	}
}
