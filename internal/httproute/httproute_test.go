package httproute_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"tshx/internal/httproute"
)

// Hosts of requests are those of the other side, and share connections.
func TestHosts(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprint(rw, r.Host, r.RequestURI, r.Header["User-Agent"], r.Header["Accept-Encoding"])
	}, nil)
	for url, host := range map[string]string{"https://a.example.com/x?y=%zz;": "", "http://b.example.com:99/x?y=%zz;": "", "https://u:p@c.example.com/x?y=%zz;": "d.example.com"} {
		r, err := http.NewRequest("GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := r.URL.Host
		if r.Host = host; host != "" {
			want = host
		}
		r.Header["User-Agent"] = nil
		before := r.URL.String()
		res, err := w.up.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, res.Body); got != want+"/x?y=%zz;[] []" || r.URL.String() != before {
			t.Errorf("%s: %s, now %s", url, got, r.URL)
		}
	}
	if n := w.accepted.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// Close ends what goes on, and nothing begins after it.
func TestClose(t *testing.T) {
	begun := make(chan bool)
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		io.WriteString(rw, "half")
		http.NewResponseController(rw).Flush()
		begun <- true
		<-r.Context().Done()
	}, nil)
	got := make(chan error)
	for _, http2 := range []bool{false, true} {
		client := w.client(http2)
		go func() {
			res, err := client.Get(w.url + "/")
			if err == nil {
				_, err = io.ReadAll(res.Body)
				res.Body.Close()
			}
			got <- err
		}()
		<-begun
	}
	w.up.Close()
	for range 2 {
		if err := <-got; err == nil {
			t.Error("an answer that was cut looks complete")
		}
	}
	r, _ := http.NewRequest("GET", w.url, nil)
	if _, err := w.up.RoundTrip(r); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if res, err := w.client(false).Get(w.url); err == nil {
		t.Errorf("after Close: %s", res.Status)
	}
}

// A dial that waits for its turn ends with the Upstream, whoever else has the turn.
func TestCloseWaiting(t *testing.T) {
	limit := httproute.NewLimit(1)
	limit <- struct{}{}
	w := newWorld(t, hello, func(w *world) { w.options.Limit = limit })
	got := make(chan error)
	go func() {
		r, _ := http.NewRequest("GET", w.url, nil)
		_, err := w.up.RoundTrip(r)
		got <- err
	}()
	w.up.Close()
	if err := <-got; err == nil {
		t.Error("dialled")
	}
	if len(limit) != 1 {
		t.Error("the turn of another was given back")
	}
}

type timeoutError struct{ error }

func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

func TestStatusOf(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{&httproute.CertError{Err: errors.New("expired")}, 401},
		{fmt.Errorf("dial: %w", &net.OpError{Op: "remote error", Err: tls.AlertError(42)}), 401},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(40)}, 502},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), 504},
		{&net.OpError{Op: "dial", Err: timeoutError{errors.New("x")}}, 504},
		{io.EOF, 502},
	} {
		if got := httproute.StatusOf(tt.err); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.err, got, tt.want)
		}
	}
}

// What the functions of the handler do.
func TestReverseErrors(t *testing.T) {
	w := newWorld(t, hello, func(w *world) {
		w.options.Route.Certificate = func() (*tls.Certificate, error) { return nil, errors.New("expired") }
	})
	if code, body := w.get(w.client(false), "/"); code != 401 || !strings.Contains(body, "expired") {
		t.Errorf("%d %s", code, body)
	}
	var cert *httproute.CertError
	if err := <-w.failed; !errors.As(err, &cert) {
		t.Errorf("failed with %v", err)
	}
}

// A body that breaks at the client is not a failure of the other side.
func TestBodyBreaks(t *testing.T) {
	begun, broke := make(chan bool), make(chan error)
	w := newWorld(t, func(_ http.ResponseWriter, r *http.Request) {
		begun <- true
		_, err := io.Copy(io.Discard, r.Body)
		broke <- err
	}, nil)
	for _, http2 := range []bool{false, true} {
		pr, pw := io.Pipe()
		r, _ := http.NewRequest("POST", w.url, pr)
		go func() {
			pw.Write(make([]byte, 100<<10))
			<-begun
			pw.CloseWithError(errors.New("broken"))
		}()
		answered := make(chan error)
		client := w.client(http2)
		go func() {
			_, err := client.Do(r)
			answered <- err
		}()
		if err := <-broke; err == nil {
			t.Error("the body looks complete")
		}
		if err := <-answered; err == nil {
			t.Error("answered")
		}
	}
	if len(w.failed) > 0 {
		t.Errorf("failed: %v", <-w.failed)
	}
}
