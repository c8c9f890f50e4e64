package reversetunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
)

// What has been said to its end is complete, even if the tunnel is lost before it is
// read; what has not is broken.
func TestStreamEndedBeforeLoss(t *testing.T) {
	for name, ended := range map[string]bool{"ended": true, "amid": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				hold := make(chan struct{})
				w.agent.Services[0].Dial = func(context.Context, DialRequest) (net.Conn, error) {
					near, far := memory()
					go func() {
						defer far.Close()
						io.WriteString(far, "all of it")
						if !ended {
							<-hold
						}
					}()
					return near, nil
				}
				w.run()
				defer w.end()
				defer close(hold)
				tunnel := w.proxy.tunnel()
				s, err := tunnel.open(t.Context(), node("node1"))
				must(t, err)
				synctest.Wait() // until nothing is under way
				lost := errors.New("the network is gone")
				tunnel.wire.Break(lost)
				synctest.Wait()
				b, err := io.ReadAll(s)
				if string(b) != "all of it" || ended && err != nil || !ended && !errors.Is(err, lost) {
					t.Errorf("read %q, %v", b, err)
				}
			})
		})
	}
}

// A tunnel whose connection ends without a word of SSH, as when the agent's process
// is killed, is lost: nobody who looks for io.EOF must take that for the end of what
// was said.
func TestCutTunnelIsNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.agent.Services[0].Dial = func(context.Context, DialRequest) (net.Conn, error) {
			near, far := memory()
			go io.WriteString(far, "half of it")
			return near, nil
		}
		var near net.Conn
		w.agent.Dial = func(ctx context.Context) (c net.Conn, err error) {
			c, err = w.dial(ctx)
			near = c
			return c, err
		}
		w.run()
		defer w.end()
		s, err := w.proxy.tunnel().open(t.Context(), node("node1"))
		must(t, err)
		synctest.Wait()
		near.Close()
		b, err := io.ReadAll(s)
		if string(b) != "half of it" || err == nil || errors.Is(err, io.EOF) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("read %q, %v", b, err)
		}
	})
}
