package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// link runs "tshx-lab link".
func link(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), &Env{Stdout: &out, Stderr: &errs}, append([]string{"link"}, args...))
	return strings.TrimSpace(out.String()), errs.String(), code
}

// The link of the ready line and those that come later sign in, each once,
// directly and through the balancer.
func TestLink(t *testing.T) {
	dir := t.TempDir()
	fields := up(t, "--dir", dir, "--balancer")
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	use := func(link, at string) {
		t.Helper()
		if !strings.HasPrefix(link, "https://"+at+"/web/link/") {
			t.Fatalf("link %q, want one at %s", link, at)
		}
		for _, want := range []int{http.StatusSeeOther, http.StatusGone} {
			req, _ := http.NewRequest("POST", link, nil)
			resp, err := (&http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want || (want == http.StatusSeeOther) != (len(resp.Cookies()) == 1) {
				t.Errorf("%s, want %d; cookies %v", resp.Status, want, resp.Cookies())
			}
		}
	}
	use(fields["web"], fields["address"])
	t.Setenv("TELEPORT_HOME", "")
	for _, tt := range []struct {
		home string
		args []string
		at   string
	}{
		{"", []string{"--dir", dir}, "address"},
		{"", []string{"--dir", dir, "--balancer"}, "balancer"},
		{filepath.Join(dir, "home"), nil, "address"},
		{filepath.Join(dir, "home-balancer"), nil, "balancer"},
		{filepath.Join(dir, "home"), []string{"--balancer"}, "balancer"},
	} {
		os.Setenv("TELEPORT_HOME", tt.home)
		out, stderr, code := link(t, tt.args...)
		if code != exitOK || stderr != "" {
			t.Fatalf("%+v: code %d, %q", tt, code, stderr)
		}
		use(out, fields[tt.at])
	}
}

func TestLinkFails(t *testing.T) {
	gone := t.TempDir()
	t.Run("up", func(t *testing.T) { up(t, "--dir", gone) })
	expired := t.TempDir()
	if fields := up(t, "--dir", expired, "--ttl=-1h"); fields["web"] != "" {
		t.Errorf("a link for an expired login: %v", fields)
	}
	t.Setenv("TELEPORT_HOME", "")
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no directory", nil, exitUsage, "--dir is missing"},
		{"nothing there", []string{"--dir", t.TempDir()}, exitFailure, "has no lab; start one with: tshx-lab up --dir"},
		{"no balancer", []string{"--dir", gone, "--balancer"}, exitFailure, "has no lab behind a balancer; start one with: tshx-lab up --balancer --dir"},
		{"not running", []string{"--dir", gone}, exitFailure, "the lab does not run"},
		{"expired", []string{"--dir", expired}, exitFailure, "has expired; start it anew with: tshx-lab up --dir"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := link(t, tt.args...)
			if code != tt.code || stdout != "" || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("code %d, %q, %q; want %d and one line with %q", code, stdout, stderr, tt.code, tt.want)
			}
		})
	}
}
