package appproxy

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// How long a client is looked at, and how much of it: what cannot be a request is
// not waited for, and nobody keeps a connection by a request line that never ends.
func TestLookBounds(t *testing.T) {
	for _, tt := range []struct {
		name, first, each string // what is said at once, and then every second
		known             Protocol
		took              time.Duration
		http, silent      bool
	}{
		{"silent", "", "", Auto, lookSilence, false, true},
		{"short words", "QUIT\r\n", "", Auto, 0, false, false},
		{"one byte", "*", "", Auto, 0, false, false},
		{"short words to an application of HTTP", "QUIT", "", HTTP, lookTime, true, false},
		{"half a request line", "GET / HT", "", Auto, lookTime, true, false},
		{"one of an unknown method", "PROPFIND /a/b HT", "", Auto, lookSilence, false, false},
		{"a line that goes on and on", "GET /", "a", Auto, lookTime, true, false},
		{"the same to an application of HTTP", "PROPFIND /", "a", HTTP, lookTime, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, c := net.Pipe()
				var said sync.WaitGroup
				defer said.Wait()
				defer client.Close()
				said.Go(func() {
					for say := tt.first; ; say = tt.each {
						if _, err := io.WriteString(client, say); err != nil || tt.each == "" {
							return
						}
						time.Sleep(time.Second)
					}
				})
				var l look
				begin := time.Now()
				if err := l.at(c, tt.known); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begin); took != tt.took || l.http != tt.http || l.silent != tt.silent {
					t.Errorf("http %v, silent %v after %v", l.http, l.silent, took)
				}
				if !strings.HasPrefix(string(l.first), tt.first) {
					t.Errorf("it has said %q", l.first)
				}
			})
		})
	}
}

// The longest request line is a bound, too.
func TestLookBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, c := net.Pipe()
		defer client.Close()
		go io.WriteString(client, "GET /"+strings.Repeat("a", 4*lookBytes))
		var l look
		if err := l.at(c, Auto); err != nil {
			t.Fatal(err)
		}
		if n := len(l.first); n < lookBytes || n > 2*lookBytes {
			t.Errorf("%d bytes were read", n)
		}
	})
}

// The head of a request that never ends does not keep the connection.
func TestHeadBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Name: "web"})
		defer p.Close()
		client, c := net.Pipe()
		defer client.Close()
		go p.ServeConn(context.Background(), c)
		begin := time.Now()
		io.WriteString(client, "GET / HTTP/1.1\r\nHost: localhost\r\n")
		client.SetReadDeadline(begin.Add(time.Hour))
		if b, err := io.ReadAll(client); len(b) > 0 || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		if took := time.Since(begin); took != HeadTimeout {
			t.Errorf("it ended after %v", took)
		}
	})
}
