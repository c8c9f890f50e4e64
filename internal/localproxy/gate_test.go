package localproxy

import (
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"tshx/internal/sockets"
)

func TestGateErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&ForeignUserError{UID: 1001, User: "bob"}, "refused a connection of user bob (uid 1001)"},
		{&ForeignUserError{UID: 1001}, "refused a connection of user 1001"},
		{&UnidentifiedError{sockets.ErrGone}, "refused a connection of an unknown user: it was closed too early to be checked, or a packet filter redirects it"},
		{&PortSquattedError{Addr: "127.0.0.1:20123", Holder: "a process of user bob"}, "address 127.0.0.1:20123, the usual one for this, is in use by a process of user bob"},
		{&UnidentifiedError{errors.New("no descriptor")}, "refused a connection of an unknown user: no descriptor"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
		if h, ok := tt.err.(interface{ Hint() string }); !ok || h.Hint() == "" {
			t.Errorf("%q gives no hint", tt.want)
		}
	}
	if hint := (&UnidentifiedError{os.NewSyscallError("socket", syscall.EMFILE)}).Hint(); !strings.Contains(hint, "ulimit") {
		t.Errorf("no descriptors: hint %q", hint)
	}
	if err := error(&UnidentifiedError{sockets.ErrGone}); !errors.Is(err, sockets.ErrGone) {
		t.Error("the cause is lost")
	}
}

// A report that takes its time, such as one to a terminal that is held, keeps
// nobody else from being admitted or refused.
func TestGateReportHoldsNobodyUp(t *testing.T) {
	for _, tt := range []struct {
		name   string
		refuse func(g *Gate)
	}{
		{"foreign", func(g *Gate) { g.refuse(1 << 30) }},
		{"unidentified", func(g *Gate) {
			a, b := net.Pipe() // which no system knows
			defer a.Close()
			defer b.Close()
			g.Admit(a)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var told atomic.Int32
			g := &Gate{}
			g.Report = func(error) {
				told.Add(1)
				done := make(chan struct{})
				go func() {
					defer close(done)
					tt.refuse(g)
				}()
				<-done
			}
			tt.refuse(g)
			if n := told.Load(); n > 1 {
				t.Errorf("told %d times", n)
			}
		})
	}
}

// Somebody with many user ids does not fill the memory or the terminal.
func TestGateTellsOncePerUser(t *testing.T) {
	var told []int
	g := &Gate{Report: func(err error) {
		var e *ForeignUserError
		if !errors.As(err, &e) {
			t.Fatal(err)
		}
		told = append(told, e.UID)
	}}
	for uid := range 2 * mostForeign {
		for range 3 {
			var e *ForeignUserError
			if err := g.refuse(1<<30 + uid); !errors.As(err, &e) || e.UID != 1<<30+uid {
				t.Errorf("user %d: %v", uid, err)
			}
		}
	}
	if len(told) != mostForeign || told[0] != 1<<30 || told[1] != 1<<30+1 {
		t.Errorf("told %d times: %v", len(told), told)
	}
}
