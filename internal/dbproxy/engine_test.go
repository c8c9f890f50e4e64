package dbproxy

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// files have names that need quotes in one place or another.
var files = Files{CA: "/home/a b/ca.pem", Cert: "/c&d.pem", Key: "/k"}

func installed(programs ...string) func(string) bool {
	return func(p string) bool { return slices.Contains(programs, p) }
}

// lineTest is what an engine tells about one endpoint.
type lineTest struct {
	name    string
	at      Endpoint
	command string
	url     string
	env     []string // nil is not compared
}

// testLines holds an engine against its rows, which are in its own test file.
func testLines(t *testing.T, e *Engine, tests []lineTest) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.command, Quote(e.Command(tt.at))); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tt.url, e.URL(tt.at)); d != "" {
				t.Error(d)
			}
			if tt.env == nil {
				return
			}
			if d := cmp.Diff(tt.env, e.Env(tt.at), cmpopts.EquateEmpty()); d != "" {
				t.Error(d)
			}
		})
	}
}

// testSpeaks holds an engine's Speaks against first bytes that are its own and
// such that are not.
func testSpeaks(t *testing.T, e *Engine, yes, no []string) {
	t.Helper()
	for _, first := range append(slices.Clone(yes), no...) {
		if len(first) < proof {
			t.Fatalf("nobody asks about %q", first)
		}
	}
	for _, first := range yes {
		if !e.Speaks([]byte(first)) {
			t.Errorf("%q is not known", first)
		}
	}
	for _, first := range no {
		if e.Speaks([]byte(first)) {
			t.Errorf("%q is taken for its own", first)
		}
	}
}

// TestEngines is the contract that every engine keeps.
func TestEngines(t *testing.T) {
	known := map[string]bool{}
	for _, e := range engines {
		t.Run(e.Protocol, func(t *testing.T) {
			if known[e.Protocol] {
				t.Error("a second engine of this name")
			}
			known[e.Protocol] = true
			if e.Title == "" || !strings.HasPrefix(e.ALPN, "teleport-") {
				t.Errorf("title %q, ALPN %q", e.Title, e.ALPN)
			}
			if e.URL == nil || e.Env == nil || e.Refuse == nil || e.Ping == nil || len(e.Clients) == 0 {
				t.Fatal("a function or the clients are missing")
			}
			if (e.Speaks == nil) != e.ServerFirst {
				t.Error("either the server greets or the client's first words are known")
			}
			for _, at := range []Endpoint{
				{Host: "127.0.0.1", Port: "5", User: "u", Name: "n", Tunnel: true},
				{Host: "localhost", Port: "5", User: "u", Name: "n", Files: files},
				{Host: "localhost", Port: "5", Tunnel: true},
				{Socket: "/run/s", User: "u", Name: "n", Tunnel: true},
			} {
				testEngineAt(t, e, at)
			}
		})
	}
}

func testEngineAt(t *testing.T, e *Engine, at Endpoint) {
	t.Helper()
	if text := e.URL(at); text == "" {
		t.Errorf("%+v: no URL", at)
	} else if u, err := url.Parse(text); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			t.Errorf("a password in %s", text)
		}
	}
	for _, v := range e.Env(at) {
		testVariable(t, v)
	}
	for _, c := range e.Clients {
		if c.Program == "" || c.Install == "" || c.Args == nil {
			t.Errorf("client %q: its name, where it comes from or its arguments are missing", c.Program)
			continue
		}
		var secrets []string
		if c.Env != nil {
			for _, v := range c.Env(at) {
				testVariable(t, v)
				if name, value, _ := strings.Cut(v, "="); passwordLike(name) {
					secrets = append(secrets, value)
				}
			}
		}
		for _, arg := range c.Args(at) {
			if passwordLike(arg) || slices.Contains(secrets, arg) {
				t.Errorf("%s: a password among the arguments: %s", c.Program, arg)
			}
		}
	}
}

func passwordLike(name string) bool {
	name = strings.ToLower(name)
	return strings.Contains(name, "passw") || strings.Contains(name, "pwd") || strings.Contains(name, "secret")
}

func testVariable(t *testing.T, v string) {
	t.Helper()
	if name, _, ok := strings.Cut(v, "="); !ok || name == "" || strings.ContainsAny(name, " \n") {
		t.Errorf("%q is no variable", v)
	}
}

func TestLookupUnknown(t *testing.T) {
	_, err := Lookup("oracle9")
	var unknown *UnknownEngineError
	if !errors.As(err, &unknown) || unknown.Protocol != "oracle9" {
		t.Fatalf("Lookup = %v", err)
	}
}

// sharedALPN are the engines that have no route of their own name.
var sharedALPN = map[string]string{"cockroachdb": "postgres", "clickhouse-http": "clickhouse"}

func TestRouteOffersPingFirst(t *testing.T) {
	for _, p := range Protocols() {
		e, err := Lookup(p)
		if err != nil {
			t.Fatal(err)
		}
		name := "teleport-" + p
		if other := sharedALPN[p]; other != "" {
			name = "teleport-" + other
		}
		r := e.Route("x", nil)
		if d := cmp.Diff([]string{name + "-ping", name}, r.ALPN); d != "" || r.HostCert {
			t.Errorf("%s: %s host certificate %v", p, d, r.HostCert)
		}
	}
}
