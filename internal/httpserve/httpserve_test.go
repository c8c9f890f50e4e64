package httpserve_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"

	"go.uber.org/goleak"

	"tshx/internal/conn"
	"tshx/internal/httpserve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// end is what Serve returned.
type end struct {
	conn.Stats
	err error
}

// serve starts a server with one connection, and returns the client's side.
func serve(t *testing.T, ctx context.Context, h http.HandlerFunc, prepare func(net.Conn) (net.Conn, error)) (*httpserve.Server, net.Conn, <-chan end) {
	t.Helper()
	s := httpserve.New(httpserve.Options{Handler: h})
	t.Cleanup(func() { s.Close() })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan end, 1)
	go func() {
		st, err := s.Serve(ctx, c, func(context.Context) (net.Conn, error) { return prepare(c) })
		ended <- end{st, err}
		c.Close()
	}()
	return s, client, ended
}

func asIs(c net.Conn) (net.Conn, error) { return c, nil }

func hello(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }

// What was read ahead is served, the bytes of the wire are counted, and Serve lasts
// as long as the connection.
func TestServe(t *testing.T) {
	const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	_, client, ended := serve(t, t.Context(), hello, func(c net.Conn) (net.Conn, error) {
		ahead := make([]byte, 3)
		_, err := io.ReadFull(c, ahead)
		return conn.Buffered(c, ahead), err
	})
	br := bufio.NewReader(client)
	for range 2 {
		io.WriteString(client, request)
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
	}
	client.Close()
	if e := <-ended; e.err != nil || e.Sent != 2*int64(len(request)) || e.Received == 0 {
		t.Errorf("%+v", e)
	}
}

// Who may not get as far as HTTP is left to the caller.
func TestPrepareFails(t *testing.T) {
	refused := errors.New("refused")
	_, client, ended := serve(t, t.Context(), hello, func(c net.Conn) (net.Conn, error) {
		io.WriteString(c, "no\n")
		return nil, refused
	})
	if e := <-ended; e.err != refused {
		t.Errorf("%+v", e)
	}
	if b, err := io.ReadAll(client); string(b) != "no\n" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// A connection ends with the context, the server's end, or a drain if it carries
// nothing yet; Serve says why.
func TestEnds(t *testing.T) {
	stop := errors.New("stop")
	for name, tt := range map[string]struct {
		end  func(*httpserve.Server, context.CancelCauseFunc)
		busy bool
		want error
	}{
		"context":          {func(_ *httpserve.Server, cancel context.CancelCauseFunc) { cancel(stop) }, false, stop},
		"context, request": {func(_ *httpserve.Server, cancel context.CancelCauseFunc) { cancel(stop) }, true, stop},
		"close":            {func(s *httpserve.Server, _ context.CancelCauseFunc) { s.Close() }, false, net.ErrClosed},
		"close, request":   {func(s *httpserve.Server, _ context.CancelCauseFunc) { s.Close() }, true, net.ErrClosed},
		"drain":            {func(s *httpserve.Server, _ context.CancelCauseFunc) { s.Drain() }, false, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			begun := make(chan bool)
			s, client, ended := serve(t, ctx, func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, "half")
				http.NewResponseController(w).Flush()
				begun <- true
				<-r.Context().Done()
				panic(http.ErrAbortHandler)
			}, func(c net.Conn) (net.Conn, error) {
				if !tt.busy {
					begun <- true
					c.Read(make([]byte, 1)) // until it is cut
				}
				return c, nil
			})
			if tt.busy {
				io.WriteString(client, "GET / HTTP/1.0\r\n\r\n") // the end of an answer is that of the connection
			}
			<-begun
			tt.end(s, cancel)
			if e := <-ended; !errors.Is(e.err, tt.want) {
				t.Errorf("%+v", e)
			}
			if b, err := io.ReadAll(client); err == nil {
				t.Errorf("%q looks complete", b)
			}
		})
	}
}

// A handler that breaks off breaks the answer, also where only the end of the
// connection tells it from a complete one.
func TestBreaks(t *testing.T) {
	_, client, ended := serve(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "half")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}, asIs)
	io.WriteString(client, "GET / HTTP/1.0\r\n\r\n")
	if b, err := io.ReadAll(client); err == nil {
		t.Errorf("%q looks complete", b)
	}
	<-ended
}

// After Close nothing is served.
func TestClosed(t *testing.T) {
	s := httpserve.New(httpserve.Options{Handler: http.HandlerFunc(hello)})
	s.Close()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := s.Serve(t.Context(), a, nil); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	s.Drain()
}
