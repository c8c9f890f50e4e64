package httpserve_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tshx/internal/conn"
	"tshx/internal/httpserve"
)

// held is a connection of which the first Close lasts until release is closed.
type held struct {
	net.Conn
	again   atomic.Bool
	release chan bool
}

func (c *held) Close() error {
	err := c.Conn.Close()
	if !c.again.Swap(true) {
		<-c.release
	}
	return err
}

// A connection that Close has broken has been cut, also where all of its end is
// through before Close has got any further.
func TestCutBeforeSaid(t *testing.T) {
	s := httpserve.New(httpserve.Options{Handler: http.HandlerFunc(hello)})
	a, b := net.Pipe()
	defer a.Close()
	c := &held{Conn: b, release: make(chan bool)}
	got := make(chan error, 1)
	go func() {
		_, err := s.Serve(t.Context(), c, nil)
		got <- err
		close(c.release)
	}()
	io.WriteString(a, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") // from now on it is served
	if res, err := http.ReadResponse(bufio.NewReader(a), nil); err == nil {
		io.Copy(io.Discard, res.Body)
	}
	s.Close()
	if err := <-got; !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// late is a connection that is broken later than whoever serves it hears of that.
type late struct {
	net.Conn
	again   atomic.Bool
	release chan bool
}

func (c *late) Close() error {
	if !c.again.Swap(true) {
		<-c.release
	}
	return c.Conn.Close()
}

// An answer that ends because the connection is cut is not complete: what it is made
// of may have come to an end in order for that very reason.
func TestCutIsNoEnd(t *testing.T) {
	for name, cut := range map[string]func(*httpserve.Server, context.CancelFunc){
		"context": func(_ *httpserve.Server, cancel context.CancelFunc) { cancel() },
		"close":   func(s *httpserve.Server, _ context.CancelFunc) { s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			s := httpserve.New(httpserve.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, "half")
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})})
			defer s.Close()
			a, b := net.Pipe()
			defer a.Close()
			c := &late{Conn: b, release: make(chan bool)}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan bool)
			go func() {
				defer close(ended)
				s.Serve(ctx, c, nil)
			}()
			io.WriteString(a, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(a), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(res.Body, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
			go cut(s, cancel)
			if b, err := io.ReadAll(res.Body); err == nil {
				t.Errorf("half and %q look complete", b)
			}
			close(c.release)
			<-ended
		})
	}
}

// The head of a request may take so long and no longer, also that of a later one;
// between two nobody is in a hurry.
func TestHeadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound = 10 * time.Second
		s := httpserve.New(httpserve.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Minute) // an answer may take long
			w.WriteHeader(http.StatusNoContent)
		}), HeadTimeout: bound})
		defer s.Close()
		a, b := net.Pipe()
		defer a.Close()
		ended := make(chan error, 1)
		go func() {
			_, err := s.Serve(t.Context(), b, nil)
			ended <- err
		}()
		answer := make([]byte, 1<<10)
		for range 2 {
			io.WriteString(a, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if _, err := a.Read(answer); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		io.WriteString(a, "GET / HTTP/1.1\r\nHost: x\r\n")
		begin := time.Now()
		a.SetReadDeadline(begin.Add(time.Hour))
		if n, err := a.Read(answer); n > 0 || err != io.EOF {
			t.Errorf("%q, %v", answer[:n], err)
		}
		if took := time.Since(begin); took != bound {
			t.Errorf("it ended after %v", took)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Behind a change of the protocol a handler ends its direction alone: the client
// has the rest to say.
func TestHalfClose(t *testing.T) {
	heard := make(chan string, 1)
	_, client, ended := serve(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, "bye")
		if err := conn.CloseWrite(c); err != nil {
			t.Error(err)
		}
		b, _ := io.ReadAll(c)
		heard <- string(b)
	}, asIs)
	io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if b, err := io.ReadAll(client); string(b) != "bye" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	io.WriteString(client, "still here")
	conn.CloseWrite(client)
	if got := <-heard; got != "still here" {
		t.Errorf("heard %q", got)
	}
	if e := <-ended; e.err != nil {
		t.Error(e.err)
	}
}

// The request behind which a connection was taken over ends with the context of
// Serve, and with the server, of which Close waits for its handler.
func TestTakenOver(t *testing.T) {
	stop := errors.New("stop")
	for name, end := range map[string]func(*httpserve.Server, context.CancelCauseFunc){
		"context": func(_ *httpserve.Server, cancel context.CancelCauseFunc) { cancel(stop) },
		"close":   func(s *httpserve.Server, _ context.CancelCauseFunc) { s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			begun, done := make(chan bool), make(chan error, 1)
			s, client, ended := serve(t, ctx, func(w http.ResponseWriter, r *http.Request) {
				c, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				begun <- true
				<-r.Context().Done()
				done <- context.Cause(r.Context())
			}, asIs)
			io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			<-begun
			end(s, cancel)
			if name == "close" && len(done) == 0 {
				t.Error("the handler goes on")
			}
			if err := <-done; name == "context" && err != stop {
				t.Errorf("ended for %v", err)
			}
			<-ended
		})
	}
}
