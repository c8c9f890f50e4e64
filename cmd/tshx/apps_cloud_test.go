package main

import (
	"strings"
	"testing"

	"tshx/internal/lab"
)

// The API of a cloud is not opened as an application: its clients would get nowhere,
// and there is a command for them.
func TestProxyAppOfCloud(t *testing.T) {
	a := newAppsLab(t, lab.HomeOptions{}, "amazon", "google")
	for name, want := range map[string]string{"amazon": "tshx proxy aws --app amazon", "google": "tshx proxy gcp --app google"} {
		if code, _, talk := a.tshx("proxy", "app", name, "--port", "0", "--", "true"); code != exitUsage || !strings.Contains(talk, want) {
			t.Errorf("%s: %d %s", name, code, talk)
		}
	}
}
