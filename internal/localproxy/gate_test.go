package localproxy

import (
	"errors"
	"os"
	"strings"
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
