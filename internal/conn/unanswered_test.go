package conn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// unanswered splices with an Unanswered that sends more from the client's end,
// reads want bytes and answers "sorry". It returns the two far ends.
func unanswered(t *testing.T, ctx context.Context, want int, more string) (client, server Stream, heard chan []byte, done chan result) {
	t.Helper()
	c, local := tcpPair(t)
	remote, s := tlsPair(t)
	done, heard = make(chan result, 1), make(chan []byte, 1)
	go func() {
		st, err := SpliceWith(ctx, local, remote, Options{Unanswered: func(l net.Conn) {
			io.WriteString(c, more)
			got := make([]byte, want)
			n, _ := io.ReadFull(l, got)
			heard <- got[:n]
			io.WriteString(l, "sorry")
		}})
		done <- result{st, err}
	}()
	return c.(Stream), s.(Stream), heard, done
}

func TestUnanswered(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789abcdef"), 1024)
	for _, tt := range []struct {
		name   string
		sent   []byte // before the end of the remote side
		more   string // when told
		heard  string
		end    func(server Stream)
		broken bool
	}{
		{name: "end", sent: []byte("hello"), more: " there", heard: "hello there", end: func(s Stream) { s.Close() }},
		{name: "half-close", sent: []byte("hello"), heard: "hello", end: func(s Stream) { s.CloseWrite() }},
		{name: "reset", sent: []byte("hello"), heard: "hello", end: func(s Stream) { Abort(s.(net.Conn)) }, broken: true},
		{name: "nothing sent", more: "hello", heard: "hello", end: func(s Stream) { s.Close() }},
		{name: "more than is kept", sent: long, more: "tail", heard: string(long[:replaySize]) + "tail", end: func(s Stream) { s.Close() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, server, heard, done := unanswered(t, t.Context(), len(tt.heard), tt.more)
			client.Write(tt.sent)
			if _, err := io.ReadFull(server, make([]byte, len(tt.sent))); err != nil {
				t.Fatal(err)
			}
			tt.end(server)
			if got := string(<-heard); got != tt.heard {
				t.Errorf("replayed %q, want %q", got, tt.heard)
			}
			if got, err := io.ReadAll(client); string(got) != "sorry" || err != nil {
				t.Errorf("client read %q, %v", got, err)
			}
			r := <-done
			if PeerGone(r.err) != tt.broken || !tt.broken && r.err != nil || r.Received != 0 || !r.RemoteFirst {
				t.Errorf("SpliceWith = %+v", r)
			}
		})
	}
}

// An answer, however short, is the server's to end.
func TestUnansweredAfterAnAnswer(t *testing.T) {
	for name, end := range map[string]func(Stream){
		"end":   func(s Stream) { s.Close() },
		"reset": func(s Stream) { Abort(s.(net.Conn)) },
	} {
		t.Run(name, func(t *testing.T) {
			client, server, heard, done := unanswered(t, t.Context(), 1, "")
			io.WriteString(server, "x")
			if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			end(server)
			if got, _ := io.ReadAll(client); len(got) != 0 {
				t.Errorf("client read %q", got)
			}
			client.Close()
			<-done
			if len(heard) > 0 {
				t.Error("told that there was no answer")
			}
		})
	}
}

// A client that is gone is told nothing, and neither is one that is cut.
func TestUnansweredIsNotForOurOwnEnd(t *testing.T) {
	t.Run("client gone", func(t *testing.T) {
		client, _, heard, done := unanswered(t, t.Context(), 1, "")
		Abort(client.(net.Conn))
		if r := <-done; !PeerGone(r.err) || len(heard) > 0 {
			t.Errorf("SpliceWith = %+v, told %d", r, len(heard))
		}
	})
	// What it began it has ended itself, and the server has nothing to say to that.
	t.Run("client half-closed", func(t *testing.T) {
		client, server, heard, done := unanswered(t, t.Context(), 1, "")
		client.CloseWrite()
		if _, err := server.Read(make([]byte, 1)); err != io.EOF {
			t.Fatal(err)
		}
		server.(net.Conn).Close()
		if r := <-done; r.err != nil || r.RemoteFirst || len(heard) > 0 {
			t.Errorf("SpliceWith = %+v, told %d", r, len(heard))
		}
	})
	t.Run("cut", func(t *testing.T) {
		cause := errors.New("drained")
		ctx, cancel := context.WithCancelCause(t.Context())
		_, _, heard, done := unanswered(t, ctx, 1, "")
		cancel(cause)
		if r := <-done; !errors.Is(r.err, cause) || len(heard) > 0 {
			t.Errorf("SpliceWith = %+v, told %d", r, len(heard))
		}
	})
}

// The end of the context ends Unanswered too.
func TestUnansweredIsCut(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, local := tcpPair(t)
	remote, server := tlsPair(t)
	server.Close()
	told := false
	SpliceWith(ctx, local, remote, Options{Unanswered: func(l net.Conn) {
		told = true
		time.AfterFunc(time.Millisecond, cancel) // before that there is nothing to cut
		if n, err := l.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("heard %d bytes, %v", n, err)
		}
	}})
	if !told {
		t.Error("not told")
	}
}

// A client's connection that cannot be woken ends as the remote side did.
func TestUnansweredWithoutDeadlines(t *testing.T) {
	client, local := memPair()
	remote, server := memPair()
	done := make(chan error, 1)
	go func() {
		_, err := SpliceWith(t.Context(), noDeadlines{local}, remote, Options{Unanswered: func(net.Conn) { t.Error("told") }})
		done <- err
	}()
	server.CloseWrite()
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("client read %v", err)
	}
	client.CloseWrite()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type noDeadlines struct{ *memConn }

func (noDeadlines) SetReadDeadline(time.Time) error { return errors.ErrUnsupported }
