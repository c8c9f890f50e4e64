package main

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"tshx/internal/dbproxy"
	"tshx/internal/profile"
)

// Without HOME it is the account that says where the user is at home.
func TestHome(t *testing.T) {
	account, err := user.Current()
	if err != nil || !filepath.IsAbs(account.HomeDir) {
		t.Skipf("this account has no home directory: %v", err)
	}
	for _, variable := range []string{"HOME", "USERPROFILE", "home"} {
		t.Setenv(variable, "")
	}
	env, _ := testEnv()
	if got := env.home(); got != account.HomeDir {
		t.Errorf("home %q, want %q", got, account.HomeDir)
	}
	t.Setenv("HOME", "/elsewhere")
	if got := env.home(); got != "/elsewhere" {
		t.Errorf("home %q of HOME", got)
	}
}

// Who has no home directory at all gets no file in the current one.
func TestNoHome(t *testing.T) {
	f := dbproxy.ClientFile{Name: ".conf", Variable: "CONF"}
	for _, tt := range []struct{ home, variable, want string }{
		{"/home/x", "", filepath.Join("/home/x", ".conf")},
		{"", "there", "there"},
		{"", "", ""},
	} {
		path, err := clientPath(f, tt.home, func(string) string { return tt.variable })
		if path != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("home %q, variable %q: %q, %v", tt.home, tt.variable, path, err)
		}
		var none *noHomeError
		if err != nil && (!errors.As(err, &none) || !strings.Contains(explain(err), "no place for .conf: no home directory is known; set HOME or CONF")) {
			t.Errorf("%s", explain(err))
		}
	}
	if err := error(&noHomeError{profile.ErrNotLoggedIn, "TELEPORT_HOME"}); exitCode(err) != exitLogin {
		t.Errorf("exit code %d", exitCode(err))
	}
	if err := error(&unreadableError{&os.PathError{Op: "open", Path: "x", Err: os.ErrPermission}}); exitCode(err) != exitLogin {
		t.Errorf("exit code %d", exitCode(err))
	}
}
