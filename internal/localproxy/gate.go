package localproxy

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tshx/internal/conn"
	"tshx/internal/sockets"
)

// Gate lets the connections of one local user in, for Server.Admit:
//
//	g := &localproxy.Gate{UID: os.Geteuid(), Report: warn}
//	s := &localproxy.Server{Handler: h, Admit: g.Admit}
//
// Root is let in as well: it can read the certificate and the memory of every
// process anyway, and programs run by sudo may belong to the same person.
// What the system cannot tell about (sockets.ErrUnknown) is let in, and so are
// other machines (sockets.ErrRemote), which reach only a listener that is meant
// for them. All other doubts count against the connection.
type Gate struct {
	UID int // as os.Geteuid returns it
	// Report is told once for each foreign user, with a ForeignUserError, and
	// once for each other reason, with an UnidentifiedError. It is called
	// concurrently and holds up the refused connection only. Nil does nothing.
	Report func(error)
	Log    *slog.Logger

	mu       sync.Mutex
	foreign  map[int]*ForeignUserError // told about already
	lost     atomic.Bool               // told about
	unusable atomic.Bool               // told about
}

// ForeignUserError says that another user of this machine has connected.
type ForeignUserError struct {
	UID  int
	User string // its name, empty where the system has none
}

func (e *ForeignUserError) Error() string {
	if e.User == "" {
		return fmt.Sprintf("refused a connection of user %d", e.UID)
	}
	return fmt.Sprintf("refused a connection of user %s (uid %d)", e.User, e.UID)
}

// Hint says what to do if the user is welcome.
func (*ForeignUserError) Hint() string { return "--allow-any-local-user lets other users in" }

// UnidentifiedError says that it could not be found out whose a connection is.
type UnidentifiedError struct {
	Err error // sockets.ErrGone, or why the system did not answer
}

func (e *UnidentifiedError) Error() string {
	if errors.Is(e.Err, sockets.ErrGone) {
		return "refused a connection of an unknown user: it was closed too early to be checked, or a packet filter redirects it"
	}
	return fmt.Sprintf("refused a connection of an unknown user: %v", e.Err)
}

func (e *UnidentifiedError) Unwrap() error { return e.Err }

// Hint says what makes the check possible, or unnecessary.
func (e *UnidentifiedError) Hint() string {
	if errors.Is(e.Err, syscall.EMFILE) || errors.Is(e.Err, syscall.ENFILE) {
		return "raise the limit of open files (ulimit -n)"
	}
	return "a unix socket can always be checked; --allow-any-local-user leaves the check out"
}

// root is the user id of the administrator.
const root = 0

// Admit returns nil for a connection that may come in: a ForeignUserError or an
// UnidentifiedError for others, which it leaves open. Of those it may have
// read. It may be called concurrently, for any number of listeners.
func (g *Gate) Admit(c net.Conn) error {
	uid, err := sockets.PeerUID(c)
	switch {
	case err == nil && (uid == g.UID || uid == root):
		return nil
	case err == nil:
		return g.refuse(uid)
	case errors.Is(err, sockets.ErrUnknown), errors.Is(err, sockets.ErrRemote):
		g.log().Debug("admitted unchecked", "remote", c.RemoteAddr().String(), "err", err)
		return nil
	}
	unidentified := &UnidentifiedError{Err: err}
	told := &g.unusable
	if errors.Is(err, sockets.ErrGone) {
		if left(c) {
			return unidentified // nothing is lost: not worth a word
		}
		told = &g.lost
	}
	if !told.Swap(true) {
		g.report(unidentified)
	}
	return unidentified
}

// mostForeign bounds how many users are told about.
const mostForeign = 64

// refuse tells about a foreign user, the first time.
func (g *Gate) refuse(uid int) error {
	err, first := g.stranger(uid)
	if first {
		g.report(err)
	}
	return err
}

// stranger returns the error about a foreign user, and whether it is to be told.
func (g *Gate) stranger(uid int) (err *ForeignUserError, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err, known := g.foreign[uid]; known {
		return err, false
	}
	err = &ForeignUserError{UID: uid}
	if len(g.foreign) == mostForeign {
		return err, false
	}
	if name := sockets.UserName(uid); name != strconv.Itoa(uid) {
		err.User = name
	}
	if g.foreign == nil {
		g.foreign = make(map[int]*ForeignUserError)
	}
	g.foreign[uid] = err
	return err, true
}

func (g *Gate) report(err error) {
	if g.Report != nil {
		g.Report(err)
	}
}

// leftWait bounds the wait for the end of a connection whose other end is gone
// already.
const leftWait = 50 * time.Millisecond

// left reports whether a client has gone without a word: it has lost nothing by
// a refusal. It reads.
func left(c net.Conn) bool {
	c.SetReadDeadline(time.Now().Add(leftWait))
	n, err := c.Read(make([]byte, 1))
	return n == 0 && !errors.Is(err, os.ErrDeadlineExceeded)
}

func (g *Gate) log() *slog.Logger {
	if g.Log != nil {
		return g.Log
	}
	return slog.New(slog.DiscardHandler)
}

// admitted asks s.Admit and resets the connection that it refuses.
func (s *Server) admitted(c net.Conn) bool {
	if s.Admit == nil {
		return true
	}
	err := s.Admit(c)
	if err == nil {
		return true
	}
	s.refused.Add(1)
	s.log().Debug("connection refused", "remote", c.RemoteAddr().String(), "err", err)
	conn.Abort(c)
	return false
}
