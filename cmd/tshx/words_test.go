package main

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tshx/internal/lab"
	"tshx/internal/profile"
	"tshx/internal/survey"
	"tshx/internal/upgrade"
)

// A variable of the caller's shell that is not set must not choose another cluster,
// another login or, worst of all, everything.
func TestEmptyValues(t *testing.T) {
	a := newAppsLab(t, lab.HomeOptions{}, "hello", "amazon")
	for _, args := range [][]string{
		{"apps", "logout", ""}, {"apps", "login", ""}, {"apps", "ls", "--cluster="}, {"apps", "login", "amazon", "--aws-role", ""},
		{"--proxy=", "apps", "ls"}, {"--home=", "status"}, {"--ca-file=", "status"}, {"--identity=", "status"},
		{"db", "logout", ""}, {"kube", "logout", ""}, {"upgrade", "test", ""},
		{"proxy", "app", ""}, {"proxy", "app", "hello", "--allow-host="}, {"proxy", "app", "hello", "--cluster", ""},
		{"proxy", "aws", "--app="}, {"proxy", "kube", "--kubeconfig="},
	} {
		code, out, talk := a.tshx(args...)
		if code != exitUsage || out != "" || strings.Count(talk, "\n") != 1 || !strings.Contains(talk, ": the value is empty; see: tshx "+args[0]) && !strings.HasPrefix(args[0], "--") {
			t.Errorf("%q: exit code %d, %s%s", args, code, out, talk)
		}
	}
	if !exists(a.pair("hello").Cert) {
		t.Error("logged out")
	}
}

// Who misspells the app of a cloud hears of those of that cloud, and how to become
// somebody there.
func TestCloudAppMissing(t *testing.T) {
	a := newAppsLab(t, lab.HomeOptions{}, "amazon", "azure", "google", "amazing")
	for line, want := range map[string]string{
		"proxy aws --app amazno":  `app "amazno" certificate not found, did you mean "amazon"? (there are amazon); if not, run: tsh apps login amazno --aws-role=ROLE`,
		"proxy aws --app qqqq":    `app "qqqq" certificate not found (there are amazon); run: tsh apps login qqqq --aws-role=ROLE`,
		"proxy azure --app azuer": `did you mean "azure"? (there are azure); if not, run: tsh apps login azuer --azure-identity=ID`,
		"proxy gcp --app amazing": `app "amazing" is not the API of Google Cloud; use: tshx proxy app amazing`,
		"proxy gcp --app x":       `(there are google); run: tsh apps login x --gcp-service-account=ACCOUNT`,
	} {
		code, out, talk := a.tshx(strings.Fields(line)...)
		if want := "tshx: " + want + "\n"; out != "" || code != exitLogin && code != exitUsage || !strings.HasSuffix(talk, want[len("tshx: "):]) {
			t.Errorf("%s: exit code %d, %s%swant %s", line, code, out, talk, want)
		}
	}
	none := newAppsLab(t, lab.HomeOptions{}, "hello")
	if code, _, talk := none.tshx("proxy", "aws"); code != exitLogin || !strings.HasSuffix(talk, "; run: tsh apps login NAME --aws-role=ROLE\n") {
		t.Errorf("exit code %d, %s", code, talk)
	}
}

// Settings of drivers have no place where standard output is a command's.
func TestAthenaWithCommand(t *testing.T) {
	a := newAppsLab(t, lab.HomeOptions{}, "amazon")
	for _, tail := range []string{"--exec true", "-- true"} {
		for _, format := range []string{formatAthenaODBC, formatAthenaJDBC} {
			code, out, talk := a.tshx(strings.Fields("proxy aws -f " + format + " " + tail)...)
			if code != exitUsage || out != "" || talk != "tshx: standard output is the command's, so --format "+format+" has no place\n" {
				t.Errorf("%s: exit code %d, %s%s", tail, code, out, talk)
			}
		}
	}
}

// What is far too long for a name does not hide what to do.
func TestLongNames(t *testing.T) {
	a := newAppsLab(t, lab.HomeOptions{}, "hello")
	long := strings.Repeat("ä", 5000)
	for _, line := range []string{"apps login " + long, "proxy app " + long, "apps frob" + long, "proxy app hello --listen " + long, "apps ls --proxy " + long} {
		code, out, talk := a.tshx(strings.Fields(line)...)
		if code == 0 || out != "" || len(talk) > 1000 || strings.ContainsRune(talk, '\ufffd') {
			t.Errorf("%.20s: exit code %d, %d bytes: %.300s", line, code, len(talk), talk)
		}
	}
	dir := filepath.Join(strings.Repeat("d", 200), strings.Repeat("e", 200)) // a path that somebody may have
	if _, _, talk := a.tshx("--home", dir, "status"); !strings.Contains(talk, dir) {
		t.Error(talk)
	}
}

// Names in tables are there to be copied.
func TestNamesAreWhole(t *testing.T) {
	long := strings.Repeat("n", 100)
	a := newAppsLab(t, lab.HomeOptions{}, long)
	for _, line := range []string{"apps ls", "status"} {
		if out := a.must(strings.Fields(line)...); !strings.Contains(out, long) {
			t.Errorf("%s: %s", line, out)
		}
	}
}

// A list in an error has an end.
func TestManyProfiles(t *testing.T) {
	dir := t.TempDir()
	appsEnv(t, dir)
	for _, name := range strings.Fields("a b c d e f g h i j") {
		if err := os.WriteFile(profile.ConfigPath(dir, name+".example.com"), []byte("user: alice\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, _, talk := runLine(t, "status")
	if code != exitLogin || strings.Count(talk, "--proxy=") != 9 || !strings.Contains(talk, "--proxy=h.example.com and 2 more, or run: tsh login") {
		t.Errorf("exit code %d, %s", code, talk)
	}
}

// What is no proxy at all is not told what a balancer in front of one should do,
// and an expired certificate is called that.
func TestUpgradeAdviceFits(t *testing.T) {
	plain := func(m upgrade.Method) error { return &upgrade.RefusedError{Method: m, Status: 200, Server: "nginx"} }
	failed := map[string]error{survey.Raw: os.ErrClosed, survey.HTTP: &survey.NoProxyError{Status: 200},
		survey.WebSocketPing: plain(upgrade.WebSocket), survey.WebSocket: plain(upgrade.WebSocket), survey.LegacyPing: plain(upgrade.Legacy), survey.Legacy: plain(upgrade.Legacy)}
	r := surveyWith(upgrade.Verdict{Required: true, Evidence: upgrade.EvidenceNoALPN}, failed)
	r.Proxy = nil
	advice := strings.Join(upgradeAdvice(r, survey.Wish{}, r.Use(survey.Wish{})), "; ")
	if !strings.Contains(advice, "nothing here is an access proxy") || strings.Contains(advice, "Upgrade header") {
		t.Error(advice)
	}
	if h := trustHint(x509.CertificateInvalidError{Reason: x509.Expired}); !strings.Contains(h, "renewed") || strings.Contains(h, "address") {
		t.Error(h)
	}
}

// aws with several accounts, and none of them chosen, only says that it has no
// credentials.
func TestAWSNoProfile(t *testing.T) {
	env, _ := testEnv()
	env.Getenv = func(string) string { return "" }
	for line, want := range map[string]bool{
		"s3 ls": true, "--profile a s3 ls": false, "s3 ls --profile=a": false, "--exec terraform plan": false,
	} {
		inv, err := readAWS(strings.Fields(line))
		if err != nil || inv.noProfile(env, []string{"a", "b"}) != want || inv.noProfile(env, []string{"a"}) {
			t.Errorf("%s: %v", line, err)
		}
	}
	env.Getenv = func(name string) string { return map[string]string{"AWS_PROFILE": "a"}[name] }
	inv, _ := readAWS([]string{"s3", "ls"})
	if inv.noProfile(env, []string{"a", "b"}) || !inv.noProfile(env, []string{"b", "c"}) {
		t.Error("the environment's profile is one of them, or is not")
	}
}

func TestTable(t *testing.T) {
	name, list := strings.Repeat("é", 70), strings.Repeat("u", 70)
	var tab table
	tab.row("User:", "alice")
	tab.row()
	tab.row("NAME", "USERS", "LEFT")
	tab.row(name, list, list)
	tab.row("b\x1b[2J", "", "c")
	want := "User:  alice\n\n" +
		"NAME" + strings.Repeat(" ", 58) + "USERS" + strings.Repeat(" ", 57) + "LEFT\n" +
		name + "  " + list[:59] + "…  " + list + "\n" +
		"b?[2J" + strings.Repeat(" ", 57) + strings.Repeat(" ", 62) + "c\n"
	if got := tab.String(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

// A login that cannot be written is enough: what the clients remember goes.
func TestCloudWithoutMemory(t *testing.T) {
	a := newAppsLab(t, lab.HomeOptions{}, "azure", "google")
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("XDG_RUNTIME_DIR", "")
	for command, name := range map[string]string{"azure": "az", "gcp": "gcloud"} {
		taken := filepath.Join(a.home, command) // in the place of a directory, so that root cannot either
		if err := os.WriteFile(taken, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, talk := a.tshx("proxy", command, "--port", "0", "--", "sh", "-c", `test -d "${AZURE_CONFIG_DIR:-$(dirname "$CLOUDSDK_CONFIG")}"`)
		if want := "tshx: warning: what " + name + " remembers goes when tshx ends: mkdir " + taken; code != 0 || !strings.HasPrefix(talk, want) {
			t.Errorf("%s: exit code %d, %s", command, code, talk)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
