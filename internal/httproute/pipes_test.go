package httproute_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tshx/internal/httproute"
	"tshx/internal/tlsroute"
)

// pipes is a dialer whose connections are in memory. serve has the far ends.
type pipes struct {
	serve func(c net.Conn, br *bufio.Reader)
	dials atomic.Int64
	ended atomic.Int64 // connections that we have closed
	wg    sync.WaitGroup
}

func (p *pipes) Dial(context.Context, tlsroute.Route) (net.Conn, error) {
	p.dials.Add(1)
	near, far := net.Pipe()
	p.wg.Go(func() {
		defer far.Close()
		br := bufio.NewReader(far)
		p.serve(far, br)
		io.Copy(io.Discard, br)
		p.ended.Add(1)
	})
	return near, nil
}

// answer answers each request of a connection with text, by an HTTP/1.1 server's
// words.
func answer(text string) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, br *bufio.Reader) {
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			io.Copy(io.Discard, r.Body)
			io.WriteString(c, text)
		}
	}
}

const noContent = "HTTP/1.1 204 No Content\r\n\r\n"

// by makes a request and reads its answer.
func by(t testing.TB, up *httproute.Upstream, method string, header http.Header) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://x/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		r.Header = header
	}
	res, err := up.RoundTrip(r)
	if err == nil {
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	return res, err
}

// Connections are kept for as long as is sensible: for writes that is short, as
// nobody can repeat those.
func TestIdleBounds(t *testing.T) {
	for method, bound := range map[string]time.Duration{"GET": 90 * time.Second, "POST": tlsroute.WarmMaxAge} {
		synctest.Test(t, func(t *testing.T) {
			p := &pipes{serve: answer(noContent)}
			up := httproute.New(httproute.Options{Dialer: p})
			defer up.Close()
			for range 2 {
				if _, err := by(t, up, method, nil); err != nil {
					t.Fatal(err)
				}
				time.Sleep(bound - time.Second)
				synctest.Wait()
				if p.dials.Load() != 1 || p.ended.Load() != 0 {
					t.Fatalf("%s: %d connections, %d closed", method, p.dials.Load(), p.ended.Load())
				}
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if p.ended.Load() != 1 {
				t.Errorf("%s: kept for longer than %v", method, bound)
			}
		})
	}
}

// As many connections are kept as a page of a browser or a kubectl has use for.
func TestIdleKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 16
		p := &pipes{serve: func(c net.Conn, br *bufio.Reader) {
			for {
				if _, err := http.ReadRequest(br); err != nil {
					return
				}
				time.Sleep(time.Second) // in which all of them come
				io.WriteString(c, noContent)
			}
		}}
		up := httproute.New(httproute.Options{Dialer: p})
		defer up.Close()
		for range 3 {
			var wg sync.WaitGroup
			for range many {
				wg.Go(func() {
					if _, err := by(t, up, "GET", nil); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			synctest.Wait()
		}
		if n := p.dials.Load(); n != many {
			t.Errorf("%d connections for %d at a time", n, many)
		}
	})
}

// With a new certificate the connections of the one before it are closed, and not
// only left unused.
func TestRetired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert := &tls.Certificate{Certificate: [][]byte{{1}}}
		p := &pipes{serve: answer(noContent)}
		up := httproute.New(httproute.Options{Dialer: p, Route: tlsroute.Route{Certificate: func() (*tls.Certificate, error) { return cert, nil }}})
		defer up.Close()
		for n := range int64(3) {
			for _, method := range []string{"GET", "POST"} {
				if _, err := by(t, up, method, nil); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			if p.dials.Load() != 2*n+2 || p.ended.Load() != 2*n {
				t.Errorf("%d connections, %d closed", p.dials.Load(), p.ended.Load())
			}
			cert = &tls.Certificate{Certificate: [][]byte{{byte(n + 2)}}}
		}
		up.Close()
		synctest.Wait()
		if p.ended.Load() != p.dials.Load() {
			t.Error("connections outlive the Upstream")
		}
	})
}

// A client that goes while others have the turns to dial does not take one.
func TestGoneBeforeDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := httproute.NewLimit(1)
		limit <- struct{}{}
		p := &pipes{serve: answer(noContent)}
		up := httproute.New(httproute.Options{Dialer: p, Limit: limit})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://x/", nil)
		if res, err := up.RoundTrip(r); err == nil {
			t.Errorf("answered %s", res.Status)
		}
		<-limit // the others are done
		synctest.Wait()
		if n := p.dials.Load(); n != 0 {
			t.Errorf("%d dials for nobody", n)
		}
		up.Close()
	})
}
