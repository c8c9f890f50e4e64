package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"tshx/internal/profile"
	"tshx/internal/program"
	"tshx/internal/webportal"
)

// linkTimeout bounds the way to the lab and back.
const linkTimeout = 10 * time.Second

type linkCmd struct {
	Dir      string `placeholder:"DIR" help:"The directory that tshx-lab up has written. Default: that of TELEPORT_HOME, as its env file sets it."`
	Balancer bool   `help:"The link goes through the balancer. Default: as TELEPORT_HOME does, else directly."`
}

// Run asks a running lab for a link that signs a browser in, as the user of the
// login that the lab has written.
func (c *linkCmd) Run(ctx context.Context, env *Env) error {
	home, err := c.home(os.Getenv("TELEPORT_HOME"))
	if err != nil {
		return err
	}
	dir := filepath.Dir(home)
	addr, err := proxyAddr(home)
	switch {
	case errors.Is(err, profile.ErrNotLoggedIn) && filepath.Base(home) == balancerHome:
		return fmt.Errorf("%s has no lab behind a balancer; start one with: tshx-lab up --balancer --dir %s", dir, shellQuote(dir))
	case errors.Is(err, profile.ErrNotLoggedIn):
		return fmt.Errorf("%s has no lab; start one with: tshx-lab up --dir %s", dir, shellQuote(dir))
	case err != nil:
		return err
	}
	// A balancer would not show the certificate to the proxy.
	link, err := askLink(ctx, filepath.Join(dir, "home"), filepath.Join(dir, caFile))
	if cert, ok := errors.AsType[*profile.CertError](err); ok && cert.Problem == profile.Expired {
		return fmt.Errorf("no link: the login of the lab has expired; start it anew with: tshx-lab up --dir %s", shellQuote(dir))
	}
	if err != nil {
		return fmt.Errorf("no link: %w", err)
	}
	link.Host = addr
	_, err = fmt.Fprintln(env.Stdout, link)
	return err
}

// home is the login whose way the link takes.
func (c *linkCmd) home(env string) (string, error) {
	name := "home"
	if c.Balancer {
		name = balancerHome
	}
	switch {
	case c.Dir != "":
		return filepath.Join(c.Dir, name), nil
	case env == "":
		return "", program.Usagef("--dir is missing: the directory that tshx-lab up has written")
	case c.Balancer:
		return filepath.Join(filepath.Dir(env), name), nil
	}
	return filepath.Clean(env), nil
}

// proxyAddr is the address that a login is for.
func proxyAddr(home string) (string, error) {
	p, err := loadProfile(home)
	if err != nil {
		return "", err
	}
	return p.WebAddr, nil
}

func loadProfile(home string) (*profile.Profile, error) {
	return profile.Load(profile.Options{Dir: home, Now: time.Now})
}

// askLink gets a link for the user of a login, by its certificate.
func askLink(ctx context.Context, home, ca string) (*url.URL, error) {
	ctx, cancel := context.WithTimeout(ctx, linkTimeout)
	defer cancel()
	p, err := loadProfile(home)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	cert, err := p.TLSCert()
	if err != nil {
		return nil, err
	}
	tr := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{*cert}},
		DisableKeepAlives: true,
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+p.WebAddr+webportal.LinksPath, nil)
	if err != nil {
		return nil, err
	}
	resp, err := tr.RoundTrip(req)
	var refused *net.OpError
	if errors.As(err, &refused) && refused.Op == "dial" {
		return nil, fmt.Errorf("the lab does not run: %w", err)
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		URL   string
		Error struct{ Message string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("answer of the lab: %w", err)
	}
	if answer.URL == "" {
		return nil, errors.New(answer.Error.Message)
	}
	return url.Parse(answer.URL)
}
