//go:build linux

package integration

import (
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"tshx/internal/lab"
	"tshx/internal/profile"
)

// Exit codes as documented.
const (
	codeFailure     = 1
	codeUsage       = 2
	codeLogin       = 4
	codeInterrupted = 130
)

// oneLine checks that a program said exactly one line, and what.
func oneLine(t testing.TB, said, pattern string) {
	t.Helper()
	got := lines(withoutWaits(said))
	if len(got) != 1 || !strings.HasPrefix(got[0], "tshx: ") {
		t.Errorf("want one line that begins with \"tshx: \", got %d:\n%s", len(got), said)
		return
	}
	if !regexp.MustCompile(pattern).MatchString(got[0]) {
		t.Errorf("line does not match %q:\n%s", pattern, got[0])
	}
}

// oncePerWhile checks that a program that has run since began said nothing but
// lines that match, and each of them at most once in ten seconds: how long the
// test takes is the machine's.
func oncePerWhile(t testing.TB, p *program, began time.Time, pattern string) {
	t.Helper()
	said := map[string]int{}
	for _, l := range says(p) {
		if !strings.HasPrefix(l, "tshx: ") || !regexp.MustCompile(pattern).MatchString(l) {
			t.Errorf("line does not match %q:\n%s", pattern, l)
		}
		said[strings.Map(noDigit, l)]++
	}
	took := time.Since(began)
	rounds := 1 + int(took/(10*time.Second))
	for l, n := range said {
		if n > rounds {
			t.Errorf("said %d times in %v: %s", n, took, l)
		}
	}
	if len(said) == 0 {
		t.Errorf("said nothing that matches %q", pattern)
	}
}

// noDigit leaves digits out: ports and sizes differ each time.
func noDigit(r rune) rune {
	if '0' <= r && r <= '9' {
		return -1
	}
	return r
}

// mistake is a call of tshx that cannot work.
type mistake struct {
	name string
	args string
	// spoil damages the login, or the environment. May be nil.
	spoil func(t *testing.T, tr *transport)
	code  int
	says  string // pattern of the one line
}

var mistakes = []mistake{
	{"unknown command", "frobnicate", nil, codeUsage, `frobnicate.*--help`},
	{"unknown flag", "proxy db pg --frobnicate", nil, codeUsage, `--frobnicate.*--help`},
	{"missing argument", "proxy db", nil, codeUsage, `name.*--help`},
	{"port out of range", "proxy db pg --port 70000", nil, codeUsage, `70000`},
	{"bad target", "proxy ssh node1:port", nil, codeUsage, `port`},
	{"other machines can reach it", "proxy db pg --listen 0.0.0.0", nil, codeUsage, `--insecure-listen-anywhere`},
	{"missing ca file", "--ca-file /nonexistent proxy db pg", nil, codeUsage, `/nonexistent`},

	{"no profile", "proxy db pg", noProfile, codeLogin, `not logged in.*tsh login`},
	{"no profile, ssh", "proxy ssh node1", noProfile, codeLogin, `not logged in.*tsh login`},
	{"no profile, status", "status", noProfile, codeLogin, `not logged in.*tsh login`},
	{"unknown proxy", "--proxy other.example.com proxy db pg", nil, codeLogin, `other\.example\.com.*tsh login`},
	{"unknown database", "proxy db nosuch", nil, codeLogin, `"nosuch".*tsh db login.*nosuch`},
	{"unknown app", "proxy app nosuch", nil, codeLogin, `"nosuch".*tsh apps login.*nosuch`},
	{"broken yaml", "proxy db pg", brokenYAML, codeFailure, `\.yaml`},
	{"database certificate expired", "proxy db pg", relogin(expired), codeLogin, `"pg" certificate expired .* ago.*tsh`},
	{"login expired, ssh", "proxy ssh node1", relogin(expired), codeLogin, `certificate expired .* ago.*tsh login`},
	{"foreign key", "proxy db pg", relogin(mismatched), codeLogin, `does not belong to its private key`},
	{"broken certificate", "proxy db pg", brokenCertificate, codeLogin, `"pg" certificate cannot be used`},

	{"unknown node", "proxy ssh nosuch:3022", nil, codeFailure, `nosuch`},
	{"login not allowed", "proxy ssh mallory@node1:3022", nil, codeFailure, `mallory`},
	{"web CA unknown", "proxy ssh node1:3022", func(t *testing.T, tr *transport) {
		*tr = *privateLogin(t, transportNamed(t, "websocket nginx").addr)
		tr.caFile = ""
	}, codeFailure, `certificate.*--ca-file`},
	{"host CA of another cluster", "proxy ssh node1:3022", relogin(foreignTrust), codeFailure, `tsh login`},
	{"user CA of another cluster", "proxy ssh node1:3022", relogin(foreignSigner), codeFailure, `refused|unable to authenticate`},
	{"SSH host CA of another cluster", "proxy ssh node1:3022", foreignKnownHosts, codeFailure, `tsh login`},
	{"proxy down", "proxy ssh node1:3022", func(t *testing.T, tr *transport) {
		*tr = *privateLogin(t, closedPort(t))
	}, codeFailure, `refused`},
	{"proxy closes at once", "proxy ssh node1:3022", func(t *testing.T, tr *transport) {
		*tr = *privateLogin(t, serve(t, func(c *net.TCPConn) { c.Close() }))
	}, codeFailure, `localhost:`},
	{"proxy resets", "proxy ssh node1:3022", func(t *testing.T, tr *transport) {
		*tr = *privateLogin(t, serve(t, reset))
	}, codeFailure, `reset|EOF`},
	{"no TLS there", "proxy ssh node1:3022", func(t *testing.T, tr *transport) {
		*tr = *privateLogin(t, serve(t, func(c *net.TCPConn) {
			c.Write([]byte("SSH-2.0-OpenSSH_9.2\r\n"))
			buf := make([]byte, 1024)
			c.Read(buf)
			c.Close()
		}))
	}, codeFailure, `localhost:`},
	{"proxy hangs", "proxy ssh node1:3022", func(t *testing.T, tr *transport) {
		*tr = *privateLogin(t, serve(t, func(c *net.TCPConn) { t.Cleanup(func() { c.Close() }) }))
	}, codeFailure, `no answer|timed out|timeout|deadline`},
	{"balancer lets only WebSocket pass", "proxy ssh node1:3022", func(t *testing.T, tr *transport) {
		*tr = *oldBehindStrictNginx.get(t)
	}, codeFailure, `nginx`},
	{"host does not exist", "proxy ssh node1:3022", func(t *testing.T, tr *transport) {
		*tr = *loginAt(t, "nosuch.invalid:443", lab.HomeOptions{})
	}, codeFailure, `nosuch\.invalid`},
}

// oldBehindStrictNginx is a way that cannot work: the proxy knows no WebSocket,
// and the balancer passes nothing else.
var oldBehindStrictNginx = share(way{cluster: old, front: strictNginx}.build)

// TestMistakes checks that each gives one clear line, the documented exit code,
// and leaves nothing behind.
func TestMistakes(t *testing.T) {
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			tr := privateLogin(t, modern.get(t).direct)
			if m.spoil != nil {
				m.spoil(t, tr)
			}
			p := launch(t, tr.options(), append([]string{tshxPath}, strings.Fields(m.args)...)...)
			if code := p.wait(); code != m.code {
				t.Errorf("exit code %d, want %d", code, m.code)
			}
			if out := p.stdout.String(); out != "" {
				t.Errorf("standard output: %q", out)
			}
			oneLine(t, p.stderr.String(), m.says)
		})
	}
}

// privateLogin is a login of its own for the proxy on a loopback port, for
// tests that damage it or put something else in the proxy's place.
func privateLogin(t testing.TB, addr string) *transport {
	t.Helper()
	return loginAt(t, at("localhost", addr), lab.HomeOptions{})
}

func loginAt(t testing.TB, addr string, o lab.HomeOptions) *transport {
	t.Helper()
	tr, err := modern.get(t).login(addr, o)
	check(t, err)
	return tr
}

// paths are those of the login's files.
func (tr *transport) paths() profile.Paths {
	host, _, _ := net.SplitHostPort(tr.addr)
	return profile.Paths{Dir: tr.home, Proxy: host, User: account.User}
}

func noProfile(t *testing.T, tr *transport) { tr.home = t.TempDir() }

func brokenYAML(t *testing.T, tr *transport) {
	overwrite(t, profile.ConfigPath(tr.home, tr.paths().Proxy), []byte("web_proxy_addr: [unclosed\n\tkey"))
}

func relogin(o func(t *testing.T) lab.HomeOptions) func(*testing.T, *transport) {
	return func(t *testing.T, tr *transport) { *tr = *loginAt(t, tr.addr, o(t)) }
}

func expired(*testing.T) lab.HomeOptions { return lab.HomeOptions{TTL: -time.Hour} }

func mismatched(*testing.T) lab.HomeOptions { return lab.HomeOptions{Mismatch: true} }

func foreignTrust(t *testing.T) lab.HomeOptions {
	return lab.HomeOptions{Trust: old.get(t).lab.Authority}
}

func foreignSigner(t *testing.T) lab.HomeOptions {
	return lab.HomeOptions{Signer: old.get(t).lab.Authority}
}

func brokenCertificate(t *testing.T, tr *transport) {
	cert := tr.paths().Pair(profile.LayoutV17, profile.KindDB, tr.cluster, "pg").Cert
	overwrite(t, cert, []byte("-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n"))
}

// foreignKnownHosts trusts another cluster for SSH alone.
func foreignKnownHosts(t *testing.T, tr *transport) {
	other := loginAt(t, tr.addr, foreignTrust(t))
	b, err := os.ReadFile(profile.KnownHostsPath(other.home))
	check(t, err)
	overwrite(t, profile.KnownHostsPath(tr.home), b)
}

func overwrite(t testing.TB, path string, content []byte) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	check(t, os.WriteFile(path, content, 0o600))
}
