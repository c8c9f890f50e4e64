package main

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"tshx/internal/egress"
	"tshx/internal/profile"
	"tshx/internal/program"
	"tshx/internal/survey"
	"tshx/internal/upgrade"
)

type upgradeCmd struct {
	Test upgradeTestCmd `cmd:"" name:"test" help:"Try every way to a proxy, and say what stands in front of it and what to change."`
}

type upgradeTestCmd struct {
	Host     string `arg:"" optional:"" placeholder:"HOST[:PORT]" help:"The proxy's web address; needs no login. Default: the login's proxy."`
	WaitPing bool   `name:"wait-ping" help:"Wait for the first ping on each upgrade that works, which proxies send after 30 s."`
	Format   string `short:"f" enum:"text,json" default:"text" help:"Output format: text or json (docs/upgrade.md)."`
}

// Run makes the survey and prints it. The exit code is 0 if tshx gets through, and
// else 1, with nothing on standard error: the report says why.
func (c *upgradeTestCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	t, err := c.target(env, g)
	if err != nil {
		return err
	}
	if g.Insecure {
		warn(env, "--insecure: the proxy's public certificate is not verified")
	}
	if c.WaitPing {
		say(env, "waiting for the first ping of each upgrade, which proxies send after 30 s")
	}
	r := survey.Run(ctx, survey.Options{Target: t.Target, HTTPProxy: t.httpProxy, HostCAs: t.hostCAs, WaitPing: c.WaitPing})
	if program.Signalled(ctx) {
		return childExit(program.ExitInterrupted)
	}
	report := newUpgradeReport(env, t, r)
	if c.Format == formatJSON {
		err = report.json(env.Stdout)
	} else {
		err = report.text(env.Stdout)
	}
	if err == nil && !report.Use.Works {
		err = childExit(exitFailure)
	}
	return err
}

// upgradeTarget is the proxy to look at, and what a login knows about it.
type upgradeTarget struct {
	upgrade.Target
	httpProxy string         // without credentials; empty for none
	hostCAs   *x509.CertPool // nil without a login
	cluster   string         // of the login; empty without one
	note      string         // why a login is not used; may be empty
	known     string         // the way that tshx would take without a test; may be empty
}

func (c *upgradeTestCmd) target(env *Env, g *Globals) (*upgradeTarget, error) {
	t := &upgradeTarget{}
	asked := *g
	if c.Host != "" {
		addr, err := proxyAddress(c.Host)
		if err != nil {
			return nil, err
		}
		t.Addr, asked.ProxyAddr = withWebPort(addr), addr
	}
	if err := t.login(env, &asked); err != nil && c.Host == "" {
		return nil, err
	}
	roots, err := g.roots()
	if err != nil {
		return nil, err
	}
	out := &egress.Dialer{Getenv: env.Getenv, Roots: roots, Insecure: g.Insecure}
	t.Dial, t.Roots, t.Insecure = out.DialContext, roots, g.Insecure
	via, err := out.ProxyFor(t.Addr)
	if err != nil {
		return nil, err
	}
	if via != nil {
		t.httpProxy = via.String()
	}
	return t, nil
}

// login takes what the login for the proxy knows: its port, its CAs, and how the
// proxy was reached.
func (t *upgradeTarget) login(env *Env, g *Globals) error {
	quiet := *g
	quiet.Insecure = false // we warn ourselves
	l, err := quiet.open(env, "")
	if err != nil {
		if !errors.Is(err, profile.ErrNotLoggedIn) {
			t.note = "a login is not used: " + explain(err)
		}
		return err
	}
	t.Addr, t.cluster = l.WebAddr, l.Cluster
	if t.hostCAs, err = l.HostCAs(); err != nil {
		t.note = "the login's CAs are not used: " + explain(err)
		t.hostCAs = nil
	}
	if w, ok := l.finder.Known(); ok {
		t.known = w.String() + ", by the " + string(w.Source)
	}
	return nil
}

// proxyAddress reads HOST, HOST:PORT or what browsers show of a proxy: the URL of
// any page.
func proxyAddress(arg string) (string, error) {
	addr := arg
	if scheme, rest, ok := strings.Cut(arg, "://"); ok {
		if !strings.EqualFold(scheme, "https") {
			return "", program.Usagef("%q: the web address of a proxy begins with https://", arg)
		}
		addr = rest
	}
	if page := strings.IndexAny(addr, "/?#"); page >= 0 {
		addr = addr[:page]
	}
	bracket := strings.HasPrefix(addr, "[")
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		host, port = addr, ""
		if inner, ok := strings.CutPrefix(addr, "["); ok {
			host, ok = strings.CutSuffix(inner, "]")
			if !ok {
				return "", program.Usagef("%q is no HOST or HOST:PORT", arg)
			}
		}
		addr = host
		if strings.Contains(host, ":") {
			addr = "[" + host + "]"
		}
	}
	_, bad := netip.ParseAddr(host)
	n, noPort := strconv.ParseUint(port, 10, 16)
	odd := func(r rune) bool { return !unicode.IsPrint(r) || strings.ContainsRune("@[] ", r) }
	switch {
	case host == "", strings.ContainsFunc(host, odd), bad != nil && (strings.Contains(host, ":") || bracket):
		return "", program.Usagef("%q is no HOST or HOST:PORT", arg)
	case err == nil && (noPort != nil || n == 0):
		return "", program.Usagef("%q: %q is no port", arg, port)
	}
	return addr, nil
}

func withWebPort(addr string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return addr + ":443"
}
