package httproute

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAPIError(t *testing.T) {
	for header, want := range map[string]string{
		"":            "",
		"no such app": "no such app",
		"\nERROR REPORT:\nOriginal Error: *trace.AccessDeniedError short\nStack Trace:\n\tgithub.com/x/y.go:12 f\nUser Message: long\n\tand short": "long and short",
		// As it is after the wire.
		"ERROR REPORT: Original Error: *trace.BadParameterError no host Fields: a: b Stack Trace: \t/x.go:1 f User Message: no host": "no host",
		"ERROR REPORT: Original Error: *errors.errorString why Stack Trace: /x.go:1 User Message:":                                   "*errors.errorString why",
		"ERROR REPORT:": "",
	} {
		res := &http.Response{Header: http.Header{HeaderAPIError: {header}}}
		if got := APIError(res); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}

// cut is a body that breaks.
type cut struct{ io.Reader }

func (c cut) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (cut) Close() error { return nil }

// An answer of net/http itself is bare, and no answer loses anything by being looked
// at.
func TestBare(t *testing.T) {
	answer := func(write func(w http.ResponseWriter)) *http.Response {
		w := httptest.NewRecorder()
		write(w)
		res := w.Result()
		res.ContentLength = int64(w.Body.Len())
		return res
	}
	plain := func(code int, text string) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) { http.Error(w, text, code) }
	}
	for _, tt := range []struct {
		name   string
		res    *http.Response
		change func(*http.Response)
		want   bool
		body   string
	}{
		{"forbidden", answer(plain(403, "Forbidden")), nil, true, "Forbidden\n"},
		{"bad gateway", answer(plain(502, "Bad Gateway")), nil, true, "Bad Gateway\n"},
		{"head", answer(plain(403, "Forbidden")), func(r *http.Response) {
			r.Body, r.Request = http.NoBody, &http.Request{Method: "HEAD"}
		}, true, ""},
		{"other words", answer(plain(403, "forbidden")), nil, false, "forbidden\n"},
		{"more words", answer(plain(403, "Forbidden here")), nil, false, "Forbidden here\n"},
		{"other code", answer(plain(404, "Forbidden")), nil, false, "Forbidden\n"},
		{"no error", answer(plain(200, "OK")), nil, false, "OK\n"},
		{"page", answer(plain(403, "Forbidden")), func(r *http.Response) { r.Header.Set("Content-Type", "text/html") }, false, "Forbidden\n"},
		{"another server", answer(plain(403, "Forbidden")), func(r *http.Response) { r.Header.Del("X-Content-Type-Options") }, false, "Forbidden\n"},
	} {
		if tt.change != nil {
			tt.change(tt.res)
		}
		got := Bare(tt.res)
		body, err := io.ReadAll(tt.res.Body)
		if got != tt.want || string(body) != tt.body || err != nil {
			t.Errorf("%s: %v, then %q, %v", tt.name, got, body, err)
		}
	}
	broken := answer(plain(403, "Forbidden"))
	broken.Body = cut{strings.NewReader("Forb")}
	got := Bare(broken)
	if body, err := io.ReadAll(broken.Body); got || string(body) != "Forb" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("broken: %v, then %q, %v", got, body, err)
	}
}
