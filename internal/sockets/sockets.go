// Package sockets asks the kernel whose a local socket is: which user is at the
// other end of a connection, and which process holds a port.
//
//	uid, err := sockets.PeerUID(c)
//	p, found := sockets.Holder(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5432})
//
// It decides nothing: who may connect is the caller's business.
//
// What each system can tell:
//
//	         unix socket's peer   TCP peer   holder of a port
//	Linux    yes                  yes        yes
//	macOS    yes                  no         no
//	FreeBSD  yes                  no         no
//	others   no                   no         no
package sockets

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
)

// Why PeerUID has no answer.
var (
	// ErrUnknown says that this system does not tell who is at the other end.
	ErrUnknown = errors.New("the system does not tell which user is at the other end")
	// ErrGone says that no process of this machine holds the other end: it was
	// closed before it was looked at, or a packet filter has redirected it so
	// that it cannot be recognized. What it has sent may still be there to read.
	ErrGone = errors.New("no process holds the other end")
	// ErrRemote says that the other end is not on this machine.
	ErrRemote = errors.New("the other end is on another machine")
)

// Process is who holds a socket.
type Process struct {
	PID int // 0 for another user's process that the system does not show
	// Name is what the process calls itself, empty where PID is 0. It may hold
	// any bytes.
	Name string
	UID  int    // effective user id of who made the socket
	User string // as UserName writes it
	// Listens is false where a mere connection holds the port: what connects to
	// it does not reach the process.
	Listens bool
}

// Foreign reports whether the process could receive what is meant for the user
// uid: it listens and belongs to somebody else, who is not root either.
func (p Process) Foreign(uid int) bool { return p.Listens && p.UID != uid && p.UID != 0 }

// String names the process for people.
func (p Process) String() string {
	if p.PID == 0 {
		return "a process of user " + p.User
	}
	return fmt.Sprintf("%s (pid %d, user %s)", p.Name, p.PID, p.User)
}

// UserName is the name of a user, or its number where the system has none.
func UserName(uid int) string {
	number := strconv.Itoa(uid)
	if u, err := user.LookupId(number); err == nil && u.Username != "" {
		return u.Username
	}
	return number
}
