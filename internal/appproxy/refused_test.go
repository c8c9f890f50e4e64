package appproxy_test

import (
	"errors"
	"net/http"
	"testing"

	"tshx/internal/appproxy"
)

// What the proxy and its agent say themselves is told in words for users. It reaches
// the client as it is, as does the same of an application.
func TestRefusedByProxy(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/report":
			rw.Header().Set("X-Teleport-Api-Error", "\nERROR REPORT:\nOriginal Error: *trace.NotFoundError x\nStack Trace:\n\tgithub.com/x/y.go:12 f\nUser Message: app not found")
			http.Error(rw, "Not Found", 404)
		case "/session": // as of a certificate whose session was ended
			http.Error(rw, http.StatusText(http.StatusForbidden), http.StatusForbidden)
		case "/own":
			http.Error(rw, "you may not", http.StatusForbidden)
		}
	}, nil)
	get := func(path string) string {
		res, err := w.client().Get(w.url(path))
		if err != nil {
			t.Fatal(err)
		}
		return res.Status + " " + readAll(t, res.Body)
	}
	if got := get("/report"); got != "404 Not Found Not Found\n" {
		t.Error(got)
	}
	var session *appproxy.SessionError
	if err := <-w.reports; !errors.As(err, &session) || session.Text != "app not found" {
		t.Errorf("reported %v", err)
	}
	if got := get("/session"); got != "403 Forbidden Forbidden\n" {
		t.Error(got)
	}
	var denied *appproxy.DeniedError
	if err := <-w.reports; !errors.As(err, &denied) || denied.Hint() == "" {
		t.Errorf("reported %v", err)
	}
	if got := get("/own"); got != "403 Forbidden you may not\n" {
		t.Error(got)
	}
	if len(w.reports) > 0 {
		t.Errorf("reported %v", <-w.reports)
	}
}
