package kubeproxy_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"testing"
	"time"

	"tshx/internal/localproxy"
	"tshx/internal/tlsroute"
)

// A request that was given up does not hold up those behind it.
func TestGivenUpDial(t *testing.T) {
	began, pass := make(chan bool, 100), make(chan bool)
	closed := make(chan bool, 100)
	w := newWorld(t, unused, func(w *world) {
		w.options.Dials = 1
		w.options.Dialer = dialFunc{nil, func(context.Context, tlsroute.Route) error {
			began <- true
			<-pass
			return errors.New("refused")
		}}
		w.options.Closed = func(localproxy.Connection, localproxy.End) { closed <- true }
	})
	got := make(chan int, 2)
	ask := func() {
		res, err := w.client(false).Get(w.Proxy.URL(0) + "/")
		if err != nil {
			t.Error(err)
			got <- 0
			return
		}
		res.Body.Close()
		got <- res.StatusCode
	}
	go ask()
	<-began
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		// Whenever it is, it may not count. Before that net/http would keep the
		// connection for a next request.
		written := func(httptrace.WroteRequestInfo) { time.AfterFunc(20*time.Millisecond, cancel) }
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: written})
		r, _ := http.NewRequestWithContext(ctx, "GET", w.Proxy.URL(0)+"/", nil)
		if _, err := w.client(false).Do(r); err == nil {
			t.Error("answered")
		}
		<-closed
	}
	go ask()
	close(pass)
	if a, b := <-got, <-got; a != 502 || b != 502 {
		t.Error(a, b)
	}
	if n := len(began); n != 1 {
		t.Errorf("%d more dials", n)
	}
}
