package main

import (
	"strings"
	"testing"

	"tshx/internal/profile"
)

// Accounts are asked for by their whole name or by the short one that tsh takes, not
// by any end of it.
func TestSameAccount(t *testing.T) {
	const (
		role    = "arn:aws:iam::123456789012:role/path/reader"
		azure   = "/subscriptions/1/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/robot"
		account = "robot@project.iam.gserviceaccount.com"
	)
	for _, tt := range []struct {
		asked, has string
		want       bool
	}{
		{role, role, true}, {"reader", role, true}, {"path/reader", role, true}, {"eader", role, false}, {"role", role, false}, {"writer", role, false},
		{"robot", azure, true}, {"bot", azure, false}, {azure, azure, true},
		{"robot", account, true}, {account, account, true}, {"project.iam.gserviceaccount.com", account, false}, {"rob", account, false},
		{"robot", "", false},
	} {
		if got := sameAccount(tt.asked, tt.has); got != tt.want {
			t.Errorf("%s for %s: %v", tt.asked, tt.has, got)
		}
	}
}

// A directory with a colon in its name is no passphrase for curl.
func TestCurlLineColon(t *testing.T) {
	a := &app{
		login: &login{Profile: &profile.Profile{WebAddr: "proxy.example.com:443"}},
		Files: profile.Files{Cert: `/a:b\c/hello.crt`, Key: "/a:b/hello.key"},
	}
	a.Route.PublicAddr = "hello.example.com"
	want := `curl --insecure --cert '/a\:b\\c/hello.crt' --key /a:b/hello.key https://hello.example.com`
	if got := a.config(&Globals{Insecure: true}).Curl; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	want = strings.Replace(want, "--insecure", "--cacert /ca.pem", 1)
	if got := a.config(&Globals{CAFile: "/ca.pem"}).Curl; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
