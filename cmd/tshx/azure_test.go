package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadCloud(t *testing.T) {
	for args, want := range map[string]string{
		"vm list":                     ",,vm list",
		"--app a vm list --app b":     "a,,vm list --app b",
		"--cluster=c --app=a vm list": "a,c,vm list",
		"--app a -- --app b":          "a,,--app b",
		"--query x --app b":           ",,--query x --app b",
		"--app a":                     "a,,",
		"":                            ",,",
	} {
		app, cluster, rest, err := readCloud(strings.Fields(args))
		if got := app + "," + cluster + "," + strings.Join(rest, " "); err != nil || got != want {
			t.Errorf("%s: %q, %v", args, got, err)
		}
	}
	for _, args := range []string{"--app", "--cluster=", "--app= x"} {
		if _, _, _, err := readCloud(strings.Fields(args)); exitCode(err) != exitUsage {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// az login signs in as the managed identity, which is the one way that there is,
// unless it is told another or asked for help.
func TestAzLogin(t *testing.T) {
	for args, want := range map[string]string{
		"login":                                  "login --identity",
		"login -o none":                          "login --identity -o none",
		"login --query [].name -o":               "login --identity --query [].name -o",
		"login --allow-no-subscriptions --debug": "login --identity --allow-no-subscriptions --debug",
		"login --identity":                       "login --identity",
		"login -i --resource-id x":               "login -i --resource-id x",
		"login --username=x --password y":        "login --username=x --password y",
		"login --service-principal":              "login --service-principal",
		"login --use-device-code":                "login --use-device-code",
		"login -h":                               "login -h",
		"acr login -n x":                         "acr login -n x",
		"logout":                                 "logout",
	} {
		if got := strings.Join(azLogin(strings.Fields(args)), " "); got != want {
			t.Errorf("%s: %s", args, got)
		}
	}
}

func TestGCPProject(t *testing.T) {
	for account, want := range map[string]string{
		"robot@project-1.iam.gserviceaccount.com":             "project-1",
		"123-compute@developer.gserviceaccount.com":           "",
		"robot@project-1.example.com.iam.gserviceaccount.com": "example.com:project-1",
		"robot": "", "": "",
	} {
		if got := gcpProject(account); got != want {
			t.Errorf("%q: %q", account, got)
		}
	}
}

// The user's own file of CAs is the one that programs went by before.
func TestSystemCAs(t *testing.T) {
	own := filepath.Join(t.TempDir(), "own.pem")
	if err := os.WriteFile(own, []byte("own"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := string(systemCAs("", "/nonexistent", own)); got != "\nown" {
		t.Errorf("got %q", got)
	}
	if got := string(systemCAs("", "/nonexistent")); strings.Contains(got, "own") {
		t.Errorf("got %q", got)
	}
}
