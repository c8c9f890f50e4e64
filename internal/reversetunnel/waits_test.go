package reversetunnel

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
)

// A server that takes the connection and says nothing, such as a balancer without
// its proxy, is given up, and another tried.
func TestMuteProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, echo)
		var mute net.Conn
		w.agent.Dial = func(ctx context.Context) (net.Conn, error) {
			if mute == nil {
				near, far := memory()
				mute = far
				return near, nil
			}
			return w.dial(ctx)
		}
		failed := make(chan error, 1)
		w.agent.Retry = func(err error) { failed <- err }
		start := time.Now()
		w.run()
		defer w.end()
		w.proxy.tunnel()
		if took := time.Since(start); took < handshakeTimeout || took > handshakeTimeout+backoffMin {
			t.Errorf("a tunnel after %v", took)
		}
		if err := <-failed; err == nil {
			t.Error("nobody was told")
		}
		io.Copy(io.Discard, mute) // closed by the agent
	})
}

// A channel that is opened for nothing is closed, and takes no part of the agent
// for ever.
func TestChannelForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, echo)
		w.run()
		defer w.end()
		tunnel := w.proxy.tunnel()
		start := time.Now()
		_, reqs, err := Open(t.Context(), tunnel, tunnel.wire, ChannelTransport)
		must(t, err)
		for range reqs { // ends with the channel
		}
		if took := time.Since(start); took != requestTimeout {
			t.Errorf("closed after %v", took)
		}
	})
}

// An agent does not go on dialling for a client that has gone.
func TestDialEndsWithClient(t *testing.T) {
	w := newWorld(t, echo)
	dials, given := make(chan struct{}), make(chan error, 1)
	w.agent.Services[0].Dial = func(ctx context.Context, _ DialRequest) (net.Conn, error) {
		close(dials)
		<-ctx.Done()
		given <- ctx.Err()
		return nil, ctx.Err()
	}
	w.run()
	defer w.end()
	tunnel := w.proxy.tunnel()
	ch, reqs, err := Open(t.Context(), tunnel, tunnel.wire, ChannelTransport)
	must(t, err)
	go ssh.DiscardRequests(reqs)
	go ch.SendRequest(RequestDial, true, node("node1"))
	within(t, "the dial", dials)
	ch.Close()
	within(t, "the end of the dial", given)
}

// lateOpener answers to the opening of a channel when it is told to.
type lateOpener struct {
	ssh.Conn
	now    chan struct{}
	opened *lateChannel
}

func (o lateOpener) OpenChannel(string, []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	<-o.now
	reqs := make(chan *ssh.Request)
	close(reqs)
	return o.opened, reqs, nil
}

type lateChannel struct {
	ssh.Channel
	closed atomic.Bool
}

func (c *lateChannel) Close() error { c.closed.Store(true); return nil }

// A channel that comes when nobody waits for it any more is closed.
func TestOpenedTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memory()
		defer far.Close()
		o := lateOpener{now: make(chan struct{}), opened: &lateChannel{}}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := Open(ctx, o, NewWire(near), ChannelTransport); err != context.Canceled {
			t.Errorf("%v", err)
		}
		close(o.now)
		synctest.Wait()
		if !o.opened.closed.Load() {
			t.Error("it is left open")
		}
	})
}
