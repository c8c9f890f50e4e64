package localproxy

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// broken is a listener that has no descriptors left.
type broken struct{ net.Listener }

func (broken) Accept() (net.Conn, error) { return nil, syscall.EMFILE }

func TestWarnedOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		l := &warned{Listener: broken{}, log: slog.New(slog.NewTextHandler(&said, nil))}
		for range 100 {
			l.Accept()
			time.Sleep(warnEvery / 40)
		}
		if n := strings.Count(said.String(), "too many open files"); n != 3 {
			t.Errorf("said %d times, want 3 in %v:\n%s", n, 100*warnEvery/40, said.String())
		}
	})
}
