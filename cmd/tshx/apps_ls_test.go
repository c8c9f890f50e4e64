package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/lab"
)

// The keys are stable, and those of an unknown value are there.
func TestAppsListFormats(t *testing.T) {
	a := newAppsLab(t, lab.HomeOptions{}, "amazon", "hello")
	out := a.must("app", "list", "-f", "json")
	ends := strings.Split(out, `"expires": "`)
	if len(ends) != 3 {
		t.Fatalf("%s", out)
	}
	first, _, _ := strings.Cut(ends[1], `"`)
	second, _, _ := strings.Cut(ends[2], `"`)
	want := `[
  {
    "name": "amazon",
    "public_addr": "amazon.localhost",
    "cloud": "aws",
    "aws_role_arn": "arn:aws:iam::123456789012:role/path/reader",
    "cluster": "lab.example.com",
    "expires": "` + first + `",
    "valid": true
  },
  {
    "name": "hello",
    "public_addr": "hello.localhost",
    "cloud": null,
    "cluster": "lab.example.com",
    "expires": "` + second + `",
    "valid": true
  }
]
`
	if d := cmp.Diff(want, out); d != "" {
		t.Error(d)
	}
	want = `- name: amazon
  public_addr: amazon.localhost
  cloud: aws
  aws_role_arn: arn:aws:iam::123456789012:role/path/reader
  cluster: lab.example.com
  expires: ` + first + `
  valid: true
- name: hello
  public_addr: hello.localhost
  cloud: null
  cluster: lab.example.com
  expires: ` + second + `
  valid: true
`
	if d := cmp.Diff(want, a.must("apps", "ls", "-f", "yaml")); d != "" {
		t.Error(d)
	}
	want = `NAME    PUBLIC ADDRESS    CLOUD  AS                                          CLUSTER          TIME LEFT
amazon  amazon.localhost  aws    arn:aws:iam::123456789012:role/path/reader  lab.example.com  12 hours
hello   hello.localhost   -      -                                           lab.example.com  12 hours
`
	if d := cmp.Diff(want, a.must("apps", "ls")); d != "" {
		t.Error(d)
	}
	if out := a.must("apps", "ls", "-c", "leaf", "-f", "json"); out != "[]\n" {
		t.Errorf("%s", out)
	}
	code, out, talk := a.tshx("apps", "ls", "-c", "leaf")
	if code != 0 || out != "" || talk != "tshx: no certificate for an app; run: tsh apps login NAME\n" {
		t.Errorf("exit code %d, %s%s", code, out, talk)
	}
}

// What cannot be used is listed too, and what a certificate says cannot command a
// terminal.
func TestAppsListProblems(t *testing.T) {
	a := newAppsLab(t, lab.HomeOptions{TTL: -time.Hour}, "hello", "broken")
	if err := os.WriteFile(a.pair("broken").Cert, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := a.must("apps", "ls")
	if !strings.Contains(out, " expired\n") || !strings.Contains(out, "\nbroken  -  ") || !strings.Contains(out, " broken\n") {
		t.Errorf("%s", out)
	}
	route := cloudApps["google"]
	route.GCPServiceAccount = "\x1b[2Jrobot\n"
	a.issue(lab.HomeOptions{}, "hello", route)
	if out := a.must("apps", "ls"); strings.Contains(out, "\x1b") || strings.Count(out, "\n") != 3 {
		t.Errorf("%q", out)
	}
	if out := a.must("apps", "login", "hello"); strings.Contains(out, "\x1b") || !strings.Contains(out, "gcp: ") {
		t.Errorf("%q", out)
	}
}

// An identity file is for one app.
func TestAppsOfIdentityFile(t *testing.T) {
	a := newAppsLab(t, lab.HomeOptions{}, "hello", "other")
	flags := []string{"-i", a.identity("hello"), "--proxy", a.lab.Addr}
	if out := a.must(append(flags, "apps", "ls", "-f", "json")...); strings.Count(out, `"name"`) != 1 || !strings.Contains(out, `"name": "hello"`) {
		t.Errorf("%s", out)
	}
	if out := a.must(append(flags, "apps", "config", "-f", "key")...); out != flags[1]+"\n" {
		t.Errorf("%s", out)
	}
	if out := a.must(append(flags, "apps", "login", "hello")...); !strings.Contains(out, "connect: tshx proxy app hello\n") {
		t.Errorf("%s", out)
	}
}

// One app goes without the others, in a cluster of its own, and all go together.
func TestAppsLogout(t *testing.T) {
	a := newAppsLab(t, lab.HomeOptions{}, "hello", "hello2", "third")
	localCA := a.paths.AppLocalCA("lab.example.com", "hello")
	if err := os.WriteFile(localCA, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pair := a.pair("hello")
	if d := cmp.Diff("removed: "+pair.Cert+"\nremoved: "+pair.Key+"\nremoved: "+localCA+"\n", a.must("apps", "logout", "hello")); d != "" {
		t.Error(d)
	}
	code, out, talk := a.tshx("apps", "logout", "hello")
	if code != 0 || out != "" || !strings.HasPrefix(talk, `tshx: nothing to remove: app "hello" certificate not found, did you mean "hello2"?`) || strings.Contains(talk, "tsh apps") {
		t.Errorf("exit code %d, %s%s", code, out, talk)
	}
	code, out, talk = a.tshx("apps", "logout", "-c", "leaf")
	if code != 0 || out != "" || !strings.HasPrefix(talk, "tshx: nothing to remove: app certificate not found (") {
		t.Errorf("exit code %d, %s%s", code, out, talk)
	}
	// What cannot be removed keeps nothing else.
	stuck := a.pair("hello2").Cert
	if err := os.Remove(stuck); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(stuck, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	code, out, talk = a.tshx("apps", "logout")
	third := a.pair("third")
	if code != exitFailure || out != "removed: "+a.pair("hello2").Key+"\nremoved: "+third.Cert+"\nremoved: "+third.Key+"\n" ||
		strings.Count(talk, "\n") != 1 || !strings.Contains(talk, " cannot be removed: ") || !strings.Contains(talk, stuck) {
		t.Errorf("exit code %d, %s%s", code, out, talk)
	}
	if login := a.paths.Pair(1, "tls", "", ""); !exists(login.Key) {
		t.Error("the login's key is gone")
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
