//go:build linux

package integration

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tshx/internal/identity"
	"tshx/internal/lab"
	"tshx/internal/profile"
	"tshx/internal/proxyserver"
)

// TestAppMistakes: each gives one clear line, the documented exit code, and leaves
// nothing behind.
func TestAppMistakes(t *testing.T) {
	_, port, _ := net.SplitHostPort(listen(t).Addr().String())
	for _, tt := range []struct {
		name string
		args string
		// spoil damages the login. May be nil.
		spoil func(t *testing.T, tr *transport)
		code  int
		says  string
	}{
		{"nearest name", "proxy app wbe", nil, codeLogin, `"wbe" certificate not found, did you mean "web"\?.*tsh apps login wbe`},
		{"no name", "proxy app", nil, codeUsage, `<name>.*--help`},
		{"name with a path", "proxy app ../web", nil, codeUsage, `"../web"`},
		{"other cluster", "proxy app web --cluster leaf", nil, codeLogin, `--cluster=apps\.tshx\.test`},
		{"port taken", "proxy app web --port " + port, nil, codeFailure, `in use.*--port`},
		{"port out of range", "proxy app web --port 70000", nil, codeUsage, `70000`},
		{"no port", "proxy app web --port x", nil, codeUsage, `x`},
		{"too many ports", "proxy app web --port 0:80:90", nil, codeUsage, `--port: .*80:90`},
		{"target out of range", "proxy app web --port 0:70000", nil, codeUsage, `70000`},
		{"target", "proxy app web --port 0:9000", nil, codeLogin, `tsh apps login web --target-port[ =]9000`},
		{"protocol", "proxy app web --protocol ftp", nil, codeUsage, `--protocol`},
		{"other machines can reach it", "proxy app web --listen 0.0.0.0", nil, codeUsage, `--insecure-listen-anywhere`},
		{"expired", "proxy app web", func(t *testing.T, tr *transport) {
			check(t, appModern.get(t).lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{TTL: -time.Hour}))
		}, codeLogin, `app "web" certificate expired .* ago.*tsh apps login web`},
		{"broken certificate", "proxy app web", func(t *testing.T, tr *transport) {
			overwrite(t, appPair(tr).Cert, []byte("-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n"))
		}, codeLogin, `"web" certificate cannot be used`},
		{"API of AWS", "proxy app web", appRoute(identity.App{AWSRoleARN: "arn:aws:iam::1:role/x"}), codeUsage, `tshx proxy aws --app[ =]web`},
		{"API of Azure", "proxy app web", appRoute(identity.App{AzureIdentity: "/subscriptions/1/x"}), codeUsage, `tshx proxy azure --app[ =]web`},
		{"API of GCP", "proxy app web", appRoute(identity.App{GCPServiceAccount: "a@b.iam"}), codeUsage, `tshx proxy gcp --app[ =]web`},
		{"identity file for another", "-i IDENTITY --proxy PROXY proxy app web", nil, codeLogin, `there are files`},
		{"home is read-only", "apps logout web", nil, codeFailure, `read-only file system`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			tr := appLogin(t, appModern.get(t).direct)
			if tt.spoil != nil {
				tt.spoil(t, tr)
			}
			file := filepath.Join(t.TempDir(), "identity")
			check(t, appModern.get(t).lab.WriteIdentityFile(file, lab.HomeOptions{App: appFiles}))
			argv := append([]string{tshxPath}, strings.Fields(strings.NewReplacer("IDENTITY", file, "PROXY", tr.addr).Replace(tt.args))...)
			if tt.name == "home is read-only" {
				if os.Geteuid() != uidRoot {
					lacking(t, "only root mounts a home read-only")
				}
				const mounted = `mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"`
				argv = append([]string{"unshare", "--mount", "sh", "-c", mounted, tr.home}, argv...)
			}
			p := launch(t, tr.options(), argv...)
			if code := p.wait(); code != tt.code || p.stdout.String() != "" {
				t.Errorf("exit code %d, want %d; %q", code, tt.code, p.stdout.String())
			}
			oneLine(t, p.stderr.String(), tt.says)
			if _, err := os.Stat(appPair(tr).Cert); err != nil {
				t.Error(err)
			}
		})
	}
}

// appPair is where the certificate of appWeb is.
func appPair(tr *transport) profile.Pair {
	return tr.paths().Pair(profile.LayoutV17, profile.KindApp, tr.cluster, appWeb)
}

// appRoute gives appWeb a certificate with this route.
func appRoute(route identity.App) func(*testing.T, *transport) {
	return func(t *testing.T, tr *transport) {
		key, err := proxyserver.NewKey(proxyserver.ECDSA)
		check(t, err)
		route.Name, route.SessionID, route.PublicAddr, route.Cluster = appWeb, "s", "web.localhost", tr.cluster
		der, err := appModern.get(t).lab.Authority.IssueTLS(proxyserver.UserRequest{
			Public: key.Public(), NotAfter: time.Now().Add(time.Hour),
			Identity: identity.Identity{User: account.User, Roles: []string{"access"}, Usage: []string{identity.UsageApps}, App: route},
		})
		check(t, err)
		text, err := x509.MarshalPKCS8PrivateKey(key)
		check(t, err)
		overwrite(t, appPair(tr).Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}))
		overwrite(t, appPair(tr).Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
}

// TestAppDirect: the command line that `apps config` prints works with real curl,
// also where names have what curl or a shell gives a meaning.
func TestAppDirect(t *testing.T) {
	need(t, "curl")
	t.Parallel()
	nothingLeft(t)
	c := appModern.get(t)
	dir := t.TempDir() + "/it's a: home\\"
	check(t, os.Mkdir(dir, 0o700))
	check(t, c.lab.WriteHome(dir, at("localhost", c.direct), lab.HomeOptions{}))
	tr := &transport{cluster: c.config.Cluster, addr: c.direct, home: dir, caFile: c.caFile}
	line := strings.TrimSpace(execute(t, tr.options(), tshxPath, "apps", "config", appWeb, "--format", "curl"))
	out := execute(t, options{}, "sh", "-c", line+"/hello -sS")
	if out != "hello\n" {
		t.Errorf("%s: %q", line, out)
	}
}
