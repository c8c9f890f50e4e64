package conn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// unbufferedPair is a TLS connection on a net.Pipe: what one end writes is stuck
// until the other reads it.
func unbufferedPair(t *testing.T) (*TLS, *tls.Conn) {
	a, b := net.Pipe()
	below := NewBatch(a)
	client := NewTLS(tls.Client(below, &tls.Config{InsecureSkipVerify: true}), below)
	cfg := serverTLS(t)
	cfg.SessionTicketsDisabled = true // nobody would read them
	server := tls.Server(b, cfg)
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if err := errors.Join(client.HandshakeContext(t.Context()), <-done); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// A server that is busy when the client's end comes is no broken one: the end
// waits for it, as bytes do.
func TestSpliceEndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, local := memPair()
		remote, server := unbufferedPair(t)
		done := make(chan error, 1)
		go func() { _, err := Splice(t.Context(), local, remote); done <- err }()
		go func() { io.WriteString(client, "all of it"); client.CloseWrite() }()
		if _, err := io.ReadFull(server, make([]byte, len("all of it"))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lingerSlow*Linger - time.Second)
		if rest, err := io.ReadAll(server); len(rest) > 0 || err != nil {
			t.Errorf("the server reads %q, %v", rest, err)
		}
		go server.Close()
		if got, err := io.ReadAll(client); len(got) > 0 || err != nil {
			t.Errorf("the client reads %q, %v", got, err)
		}
		if err := <-done; err != nil {
			t.Errorf("Splice = %v", err)
		}
	})
}

// But not for ever.
func TestSpliceEndIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, local := memPair()
		remote, server := unbufferedPair(t)
		start := time.Now()
		client.CloseWrite()
		_, err := Splice(t.Context(), local, remote)
		if took := time.Since(start); !errors.Is(err, ErrLinger) || took > (lingerSlow+1)*Linger {
			t.Errorf("Splice = %v after %v", err, took)
		}
		server.NetConn().Close()
		client.Close()
	})
}

// Close does not wait for an end that is stuck.
func TestTLSCloseWhileEndIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := unbufferedPair(t)
		stuck := make(chan error, 1)
		go func() { stuck <- client.CloseWrite() }()
		synctest.Wait()
		start := time.Now()
		client.Close()
		if err := <-stuck; err == nil {
			t.Error("the end arrived")
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("took %v", took)
		}
		server.NetConn().Close()
	})
}

// The end of an inner stream ends nothing beneath: its keepalive goes on.
func TestTLSCloseWriteLeavesTheLayerBeneath(t *testing.T) {
	inner, far := nestedPair(t)
	if err := CloseWrite(inner); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the other side reads %v", err)
	}
	if _, err := inner.Write([]byte("x")); err == nil {
		t.Error("a Write behind the end")
	}
	if _, err := inner.(*TLS).below.Conn.Write([]byte("x")); err != nil {
		t.Error(err)
	}
}
