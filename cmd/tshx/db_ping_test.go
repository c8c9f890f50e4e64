package main

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tshx/internal/dbproxy"
	"tshx/internal/profile"
	"tshx/internal/tlsroute"
)

// A ping tells which part did not answer, and how long it was waited for.
func TestPingSilence(t *testing.T) {
	for _, protocol := range dbproxy.Protocols() {
		e, err := dbproxy.Lookup(protocol)
		if err != nil {
			t.Fatal(err)
		}
		if e.Ping == nil {
			continue
		}
		t.Run(protocol, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &database{login: &login{Profile: &profile.Profile{WebAddr: "proxy:443"}}, Name: "orders", Engine: e, Endpoint: dbproxy.Endpoint{User: "bob", Name: "shop", Tunnel: true}}
				c, server := net.Pipe()
				defer server.Close()
				go io.Copy(io.Discard, server)
				_, err := d.ask(t.Context(), c)
				want := `ping database "orders": the database did not answer within 15s; the proxy took the connection`
				if err == nil || !strings.HasPrefix(explain(err), want) {
					t.Errorf("ask = %v", err)
				}
			})
		})
	}
	err := &silenceError{d: &database{Name: "orders"}, after: 10*time.Second + 1, proxy: true, err: context.DeadlineExceeded}
	if got := explain(err); !strings.Contains(got, "the proxy did not answer within 10s") || !strings.Contains(got, "no answer in time") {
		t.Errorf("%s", got)
	}
}

// What ends a dial in time is no silence.
func TestTimedOut(t *testing.T) {
	for err, want := range map[error]bool{
		context.DeadlineExceeded: true, context.Canceled: false, io.EOF: false, tlsroute.ErrHandshakeCut: false,
		&net.DNSError{IsTimeout: true}: true, errors.New("timeout"): false,
	} {
		if timedOut(err) != want {
			t.Errorf("timedOut(%v) = %v", err, !want)
		}
	}
	if timedOut(nil) {
		t.Error("success is a timeout")
	}
}
