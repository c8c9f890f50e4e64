package main

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"tshx/internal/lab"
)

// Scripts see by "valid" which apps can be used now.
func TestAppsListValid(t *testing.T) {
	a := newAppsLab(t, lab.HomeOptions{TTL: -13 * time.Hour}, "old", "broken", "amazon")
	a.issue(lab.HomeOptions{}, "amazon", cloudApps["amazon"])
	if err := os.WriteFile(a.pair("broken").Cert, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	var list []struct {
		Name    string
		Valid   *bool
		Expires *time.Time
	}
	if err := json.Unmarshal([]byte(a.must("apps", "ls", "-f", "json")), &list); err != nil || len(list) != 3 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, app := range list {
		if app.Valid == nil || *app.Valid != (app.Name == "amazon") || (app.Expires == nil) != (app.Name == "broken") {
			t.Errorf("%s: valid %v, expires %v", app.Name, app.Valid, app.Expires)
		}
	}
}

// A key whose certificate has gone is removed with the rest: it is what is secret.
func TestAppsLogoutKeyAlone(t *testing.T) {
	a := newAppsLab(t, lab.HomeOptions{}, "hello")
	pair := a.pair("hello")
	if err := os.Remove(pair.Cert); err != nil {
		t.Fatal(err)
	}
	a.must("apps", "logout")
	if exists(pair.Key) {
		t.Error("the key is still there")
	}
}
