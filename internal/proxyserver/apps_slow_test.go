package proxyserver

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// An app hears of an upload when it begins, however slowly the rest comes.
func TestAppSlowUpload(t *testing.T) {
	heard := make(chan string, 1)
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		part := make([]byte, 5)
		for range 2 {
			io.ReadFull(r.Body, part)
			heard <- string(part)
		}
		io.Copy(io.Discard, r.Body)
	}))
	t.Cleanup(app.Close)
	f := start(t, Options{Apps: []App{{Name: "slow", URI: app.URL}}})
	body, send := io.Pipe()
	r, err := http.NewRequest("POST", "https://"+f.addr+"/", body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 100
	ended := make(chan error, 1)
	go func() {
		res, err := f.client(newUser(t).tls(appRoute("slow")), "http/1.1").Do(r)
		if err == nil {
			res.Body.Close()
		}
		ended <- err
	}()
	for _, part := range []string{"hello", "world"} {
		io.WriteString(send, part)
		if got := waitFor(t, "a part of the body", heard); got != part {
			t.Errorf("%q, want %q", got, part)
		}
	}
	send.Write(make([]byte, 90))
	send.Close()
	if err := waitFor(t, "the answer", ended); err != nil {
		t.Error(err)
	}
}
