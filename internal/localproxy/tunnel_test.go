package localproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"tshx/internal/conn"
)

// tunnelled sends one client through a Tunnel to a server and returns how it
// ended. Both functions own their connection.
func tunnelled(t *testing.T, tun *Tunnel, addr string, server, client func(net.Conn)) End {
	t.Helper()
	upstream := listen(t)
	defer upstream.Close()
	local, err := Listen(addr, false)
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	if tun.Dial == nil {
		tun.Dial = func(_ context.Context, client net.Conn) (net.Conn, net.Conn, error) {
			up, err := net.Dial("tcp", upstream.Addr().String())
			return client, up, err
		}
	}
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		c, err := upstream.Accept()
		if err == nil {
			server(c)
		}
	}()
	c, err := net.Dial(local.Addr().Network(), local.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer func() { done <- struct{}{} }()
		client(c)
	}()
	accepted, err := local.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var opened Connection
	var ended []End
	tun.Opened = func(c Connection) { opened = c }
	tun.Closed = func(c Connection, e End) {
		if c != opened || c.ID == 0 {
			t.Errorf("closed %v, opened %v", c, opened)
		}
		ended = append(ended, e)
	}
	tun.ServeConn(t.Context(), accepted)
	upstream.Close()
	<-done
	<-done
	if len(ended) != 1 {
		t.Fatalf("%d ends", len(ended))
	}
	return ended[0]
}

var errSilent = errors.New("no answer")

// silentIsFailure is a Check.
func silentIsFailure(head []byte) error {
	if string(head) == "bye" {
		return nil
	}
	return errSilent
}

func TestTunnelEnds(t *testing.T) {
	talk := func(say string) func(net.Conn) { // says it, half-closes, reads to the end
		return func(c net.Conn) {
			io.WriteString(c, say)
			conn.CloseWrite(c)
			io.Copy(io.Discard, c)
			c.Close()
		}
	}
	abort := func(c net.Conn) {
		io.ReadFull(c, make([]byte, 1))
		conn.Abort(c)
	}
	stay := func(c net.Conn) { // says something and waits for the end
		io.WriteString(c, "question")
		io.Copy(io.Discard, c)
		c.Close()
	}
	silent := func(c net.Conn) {
		io.ReadFull(c, make([]byte, len("question")))
		c.Close()
	}
	refuse := func(err error) func(context.Context, net.Conn) (net.Conn, net.Conn, error) {
		return func(context.Context, net.Conn) (net.Conn, net.Conn, error) { return nil, nil, err }
	}
	down := errors.New("down")
	for name, tt := range map[string]struct {
		tun            *Tunnel
		server, client func(net.Conn)
		reason         Reason
		sent, received int64
		reported       bool
	}{
		"in order":          {&Tunnel{}, talk("answer"), talk("ask"), EOF, 3, 6, false},
		"client resets":     {&Tunnel{}, talk("answer"), abort, ClientGone, -1, -1, false},
		"server resets":     {&Tunnel{}, abort, stay, UpstreamError, -1, 0, true},
		"no upstream":       {&Tunnel{Dial: refuse(down)}, silent, stay, Refused, 0, 0, true},
		"client left early": {&Tunnel{Dial: refuse(fmt.Errorf("hello: %w", conn.ErrClientGone))}, silent, stay, ClientGone, 0, 0, false},
		"no answer":         {&Tunnel{Check: silentIsFailure}, silent, stay, Refused, -1, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			reported := false
			tt.tun.Report = func(error) { reported = true }
			end := tunnelled(t, tt.tun, "127.0.0.1:0", tt.server, tt.client)
			if end.Reason != tt.reason || reported != tt.reported || (end.Err == nil) != (tt.reason == EOF) {
				t.Errorf("%+v, reported %v", end, reported)
			}
			if tt.sent >= 0 && end.Sent != tt.sent || tt.received >= 0 && end.Received != tt.received {
				t.Errorf("%d sent, %d received", end.Sent, end.Received)
			}
		})
	}
}

// A client that the proxy leaves without an answer is told why; what it had
// said can be read again.
func TestTunnelTellsWhoGetsNoAnswer(t *testing.T) {
	for question, told := range map[string]bool{"question": true, "bye": false} {
		t.Run(question, func(t *testing.T) {
			tun := &Tunnel{Check: silentIsFailure}
			var heard string
			tun.Failed = func(c net.Conn, err error) {
				b := make([]byte, len(question))
				io.ReadFull(c, b)
				heard = string(b)
				fmt.Fprintf(c, "sorry: %v", err)
			}
			var got []byte
			end := tunnelled(t, tun, "127.0.0.1:0", func(c net.Conn) {
				io.ReadFull(c, make([]byte, len(question)))
				c.Close()
			}, func(c net.Conn) {
				io.WriteString(c, question)
				got, _ = io.ReadAll(c)
				c.Close()
			})
			if !told {
				if len(got) > 0 || heard != "" || end.Reason != EOF {
					t.Errorf("read %q, heard %q, %+v", got, heard, end)
				}
				return
			}
			if string(got) != "sorry: no answer" || heard != question {
				t.Errorf("read %q, heard %q", got, heard)
			}
			if end.Reason != Refused || !errors.Is(end.Err, errSilent) {
				t.Errorf("%+v", end)
			}
		})
	}
}

// brokenPipe is an upstream that was closed before the client's first write.
type brokenPipe struct {
	net.Conn
	tried chan struct{}
}

func (c brokenPipe) Write([]byte) (int, error) {
	close(c.tried)
	return 0, syscall.EPIPE
}

func (c brokenPipe) Read([]byte) (int, error) {
	<-c.tried
	return 0, io.EOF
}

// A client that was told is reported, too, although the direction from it was
// the first to end.
func TestTunnelReportsWhomItTells(t *testing.T) {
	for range 20 {
		local, client := net.Pipe()
		_, remote := net.Pipe()
		var reported error
		tun := &Tunnel{
			Dial: func(_ context.Context, c net.Conn) (net.Conn, net.Conn, error) {
				return c, brokenPipe{remote, make(chan struct{})}, nil
			},
			Check:  silentIsFailure,
			Failed: func(c net.Conn, err error) { fmt.Fprintf(c, "sorry: %v", err) },
			Report: func(err error) { reported = err },
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			tun.ServeConn(t.Context(), local)
		}()
		io.WriteString(client, "question")
		got, _ := io.ReadAll(client)
		<-done
		if string(got) != "sorry: no answer" || !errors.Is(reported, errSilent) {
			t.Fatalf("read %q, reported %v", got, reported)
		}
	}
}

// The end of the context cuts a refusal under way, and lets none begin.
func TestTunnelRefusalEnds(t *testing.T) {
	down := errors.New("down")
	for name, begun := range map[string]bool{"under way": true, "not begun": false} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			local, client := net.Pipe()
			defer client.Close()
			told := false
			tun := &Tunnel{
				Dial: func(_ context.Context, c net.Conn) (net.Conn, net.Conn, error) {
					if !begun {
						cancel()
					}
					return conn.Buffered(c, []byte("hello")), nil, down
				},
				Failed: func(c net.Conn, _ error) {
					told = true
					io.ReadFull(c, make([]byte, len("hello")))
					cancel()
					c.Read(make([]byte, 1)) // says nothing more
				},
			}
			tun.ServeConn(ctx, local)
			if told != begun {
				t.Errorf("told %v", told)
			}
		})
	}
}

// Over a unix socket either side may end first, too.
func TestTunnelSocketHalfClose(t *testing.T) {
	addr := "unix:" + filepath.Join(socketDir(t), "s")
	var got []byte
	end := tunnelled(t, &Tunnel{}, addr, func(c net.Conn) {
		question, _ := io.ReadAll(c) // the end of the question is heard
		fmt.Fprintf(c, "%s? yes", question)
		c.Close()
	}, func(c net.Conn) {
		io.WriteString(c, "there")
		conn.CloseWrite(c)
		got, _ = io.ReadAll(c)
		c.Close()
	})
	if string(got) != "there? yes" || end.Reason != EOF {
		t.Errorf("got %q, %+v", got, end)
	}
}
