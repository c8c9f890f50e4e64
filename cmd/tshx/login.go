package main

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"tshx/internal/egress"
	"tshx/internal/profile"
	"tshx/internal/program"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// login is a profile with the means to dial its proxy.
type login struct {
	*profile.Profile
	egress *egress.Dialer
	finder *tlsroute.Finder
	dialer *tlsroute.Dialer
}

// open loads the login that the flags pick. cluster overrides the profile's
// where it is not empty.
func (g *Globals) open(env *Env, cluster string) (*login, error) {
	p, err := g.profile(env)
	if err != nil {
		return nil, err
	}
	if cluster != "" {
		p.Cluster = cluster
	}
	roots, err := g.roots()
	if err != nil {
		return nil, err
	}
	if g.Insecure {
		warn(env, "--insecure: the proxy's public certificate is not verified")
	}
	l := &login{Profile: p, egress: &egress.Dialer{Getenv: env.Getenv, Roots: roots, Insecure: g.Insecure}}
	l.finder = &tlsroute.Finder{
		Target: upgrade.Target{Addr: p.WebAddr, Dial: l.egress.DialContext, Roots: roots, Insecure: g.Insecure},
		Getenv: env.Getenv,
		Log:    env.Log,
		Now:    env.Now,
	}
	if p.UpgradeRequired != nil {
		l.finder.Profile = &tlsroute.Way{Upgrade: *p.UpgradeRequired, At: p.ModTime}
	}
	if path := env.cacheFile("ways.json"); path != "" {
		l.finder.Store = &tlsroute.Store{Path: path}
	}
	l.dialer = &tlsroute.Dialer{Finder: l.finder, HostCAs: p.HostCAs, Log: env.Log}
	u, err := l.egress.ProxyFor(p.WebAddr)
	if err != nil {
		return nil, err
	}
	if u != nil {
		env.Log.Debug("through an HTTP proxy", "remote", p.WebAddr, "proxy", u.Redacted())
	}
	return l, nil
}

func (g *Globals) profile(env *Env) (*profile.Profile, error) {
	// tsh takes "host:web port,SSH port" too.
	addr, _, _ := strings.Cut(g.ProxyAddr, ",")
	dir := cmp.Or(g.Home, profile.DefaultDir(env.Getenv, env.home()))
	if dir == "" && g.Identity == "" {
		return nil, &noHomeError{profile.ErrNotLoggedIn, "TELEPORT_HOME"}
	}
	p, err := profile.Load(profile.Options{
		Dir: dir, Name: addr, IdentityFile: g.Identity, Proxy: addr, Getenv: env.Getenv, Now: env.Now,
	})
	var cert *profile.CertError
	var file *fs.PathError
	switch {
	case errors.As(err, &file) && !errors.As(err, &cert):
		return nil, &unreadableError{err}
	case err != nil:
		return nil, err
	}
	env.Log.Debug("login", "proxy", p.WebAddr, "user", p.User, "cluster", p.Cluster, "dir", p.Dir, "identity", p.IdentityFile)
	return p, nil
}

// unreadableError says that the system does not let us read the profile.
type unreadableError struct {
	err error
}

func (e *unreadableError) Error() string { return e.err.Error() }

func (e *unreadableError) Unwrap() error { return e.err }

// Hint says what to do.
func (e *unreadableError) Hint() string {
	return "check that it is yours to read, or log in again with: tsh login"
}

// roots returns the CAs of --ca-file, for the proxy's public certificate; nil
// without one.
func (g *Globals) roots() (*x509.CertPool, error) {
	if g.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(g.CAFile)
	if err != nil {
		return nil, program.Usagef("--ca-file: %v", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, program.Usagef("--ca-file: %s holds no PEM certificate", g.CAFile)
	}
	return pool, nil
}

// warn prints one line that is not an error.
func warn(env *Env, format string, a ...any) {
	say(env, "warning: "+fmt.Sprintf(format, a...))
}
