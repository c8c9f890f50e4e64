package main

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/lab"
	"tshx/internal/profile"
)

func marshalPKCS8(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// The keys are stable, and each has the same value in every form.
func TestAppsConfigFormats(t *testing.T) {
	a := newAppsLab(t, lab.HomeOptions{}, "hello")
	ca := filepath.Join(t.TempDir(), "it's a ca.pem")
	if err := os.WriteFile(ca, a.lab.Authority.Web.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(a.lab.Addr)
	pair, uri := a.pair("hello"), "https://hello.localhost:"+port
	curl := "curl --cacert '" + strings.ReplaceAll(ca, "'", `'\''`) + "' --cert " + pair.Cert + " --key " + pair.Key + " " + uri
	for _, tt := range []struct{ format, want string }{
		{"uri", uri + "\n"}, {"ca", ca + "\n"}, {"cert", pair.Cert + "\n"}, {"key", pair.Key + "\n"}, {"curl", curl + "\n"},
		{"json", "{\n  \"name\": \"hello\",\n  \"uri\": \"" + uri + "\",\n  \"ca\": \"" + ca + "\",\n  \"cert\": \"" + pair.Cert +
			"\",\n  \"key\": \"" + pair.Key + "\",\n  \"curl\": \"" + strings.ReplaceAll(curl, `\`, `\\`) + "\"\n}\n"},
		{"yaml", "name: hello\nuri: " + uri + "\nca: " + ca + "\ncert: " + pair.Cert + "\nkey: " + pair.Key + "\ncurl: " + curl + "\n"},
		{"text", "Name:  hello\nURI:   " + uri + "\nCA:    " + ca + "\nCert:  " + pair.Cert + "\nKey:   " + pair.Key + "\n"},
	} {
		if d := cmp.Diff(tt.want, a.must("--ca-file", ca, "app", "config", "hello", "--format", tt.format)); d != "" {
			t.Errorf("%s:\n%s", tt.format, d)
		}
	}
	if out := a.must("apps", "config", "-f", "curl"); strings.Contains(out, "--cacert") { // the system's are what curl takes
		t.Errorf("%s", out)
	}
	if out := a.must("--insecure", "apps", "config", "-f", "curl"); !strings.HasPrefix(out, "curl --insecure --cert ") {
		t.Errorf("%s", out)
	}
}

// The contract has each key, and no other one.
func TestAppsKeysDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(moduleRoot, "docs", "scripting.md"))
	if err != nil {
		t.Fatal(err)
	}
	for command, keys := range map[string]reflect.Type{"apps ls": reflect.TypeFor[listedApp](), "apps config": reflect.TypeFor[appConfig]()} {
		_, section, _ := strings.Cut(string(text), "\n**`tshx "+command+"`**")
		section, _, _ = strings.Cut(section, "\n**`tshx ")
		documented := map[string]bool{}
		for line := range strings.Lines(section) {
			if cell, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " |"); ok && strings.HasPrefix(line, "| `") {
				for _, key := range strings.Split(cell, ", ") {
					documented[strings.Trim(key, "`")] = true
				}
			}
		}
		has := map[string]bool{}
		for _, f := range reflect.VisibleFields(keys) {
			if key, _, _ := strings.Cut(f.Tag.Get("json"), ","); key != "" {
				has[key] = true
			}
		}
		if d := cmp.Diff(documented, has); d != "" {
			t.Errorf("%s (-documented +has):\n%s", command, d)
		}
	}
}

// Where a client cannot show the certificate itself, that is said, and what
// works. The answer is there all the same.
func TestAppsConfigTrouble(t *testing.T) {
	a := newAppsLab(t, lab.HomeOptions{}, "hello", "amazon", "azure", "google")
	for _, tt := range []struct{ args, want string }{
		{"amazon", `app "amazon" is the API of a cloud (aws), which needs a local proxy; use: tshx aws --app amazon, or: tshx proxy aws --app amazon`},
		{"azure", `use: tshx az --app azure, or: tshx proxy azure --app azure`},
		{"google", `use: tshx gcloud --app google, or: tshx proxy gcp --app google`},
	} {
		code, out, talk := a.tshx("apps", "config", "-f", "json", tt.args)
		if code != 0 || strings.Count(talk, "\n") != 1 || !strings.Contains(talk, tt.want) || !strings.Contains(out, `"name": "`+tt.args+`"`) {
			t.Errorf("%s: exit code %d, %s%s", tt.args, code, out, talk)
		}
		for key, value := range map[string]string{
			"aws_role_arn": cloudApps[tt.args].AWSRoleARN, "azure_identity": cloudApps[tt.args].AzureIdentity, "gcp_service_account": cloudApps[tt.args].GCPServiceAccount,
		} {
			if (value != "") != strings.Contains(out, `"`+key+`": "`+value+`"`) {
				t.Errorf("%s: %s in %s", tt.args, key, out)
			}
		}
	}
	t.Setenv("TELEPORT_TLS_ROUTING_CONN_UPGRADE", "yes")
	code, out, talk := a.tshx("apps", "config", "hello", "-f", "uri", "--cluster=lab.example.com")
	want := "tshx: warning: clients cannot reach app \"hello\" without a local proxy: something in front of the proxy ends TLS; use: tshx proxy app --cluster=lab.example.com hello\n"
	if code != 0 || !strings.HasPrefix(out, "https://hello.localhost") || talk != want {
		t.Errorf("exit code %d, %s%s", code, out, talk)
	}
}

// A public address may have a port of its own, and the usual one is left out.
func TestAppURI(t *testing.T) {
	for _, tt := range []struct{ addr, web, want string }{
		{"hello.example.com", "proxy.example.com:443", "https://hello.example.com"},
		{"hello.example.com", "proxy.example.com:3080", "https://hello.example.com:3080"},
		{"hello.example.com:8443", "proxy.example.com:3080", "https://hello.example.com:8443"},
	} {
		a := &app{login: &login{Profile: &profile.Profile{WebAddr: tt.web}}}
		if a.Route.PublicAddr = tt.addr; a.uri() != tt.want {
			t.Errorf("%s at %s: %s", tt.addr, tt.web, a.uri())
		}
	}
}

// The lines are those that work for the kind of app, as far as it is known.
func TestAppsLogin(t *testing.T) {
	a := newAppsLab(t, lab.HomeOptions{}, "hello", "it's", "amazon", "google")
	out := a.must("apps", "login", "hello")
	want := "There is a certificate for app \"hello\" in cluster lab.example.com, valid for 12 hours.\nconnect: tshx proxy app hello\ncurl: " +
		a.must("apps", "config", "hello", "-f", "curl")
	if d := cmp.Diff(want, out); d != "" {
		t.Error(d)
	}
	if out := a.must("apps", "login", "it's"); !strings.Contains(out, "\nconnect: tshx proxy app 'it'\\''s'\n") {
		t.Errorf("%s", out)
	}
	for _, role := range []string{"reader", "path/reader", cloudApps["amazon"].AWSRoleARN} {
		out := a.must("apps", "login", "amazon", "--aws-role", role)
		if !strings.HasSuffix(out, "aws: arn:aws:iam::123456789012:role/path/reader\nconnect: tshx aws --app amazon\nconnect: tshx proxy aws --app amazon\n") {
			t.Errorf("%s", out)
		}
	}
	if out := a.must("apps", "login", "google", "--gcp-service-account=robot", "-q"); out != "" {
		t.Errorf("%s", out)
	}
	t.Setenv("TELEPORT_TLS_ROUTING_CONN_UPGRADE", "yes")
	if out := a.must("apps", "login", "hello"); strings.Contains(out, "curl") {
		t.Errorf("%s", out)
	}
}
