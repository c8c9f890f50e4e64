// Package event writes what happens to a local proxy as lines of JSON, for
// programs that watch it.
//
//	w := event.NewWriter(f)
//	w.Emit(event.ConnOpen{ID: 1, Client: "127.0.0.1:50000"})
//	err := w.Close()
//
// Each line is one object with the keys v, time and event and those of its
// kind; docs/events.schema.json describes them. Within one version keys are
// added and never renamed, removed or given another type. The package knows
// nobody who emits.
package event

import (
	"encoding/json"
	"time"
)

// Version is the v of every line.
const Version = 1

// Event is one of the types below.
type Event interface {
	// name is the value of the key event.
	name() string
}

// Listening says that connections are accepted from now on. It is the first.
type Listening struct {
	Address  string  `json:"address"` // host:port or the path of a socket
	Host     *string `json:"host"`    // null on a socket
	Port     *int    `json:"port"`    // null on a socket
	Socket   *string `json:"socket"`  // null on TCP
	Kind     string  `json:"kind"`
	Engine   *string `json:"engine"` // null where there is none
	Resource string  `json:"resource"`
	Cluster  string  `json:"cluster"`
	Mode     string  `json:"mode"` // tunnel or plain
	PID      int     `json:"pid"`
}

// Verdict says how the proxy is reached, at the start and whenever that has
// changed.
type Verdict struct {
	Upgrade  bool   `json:"upgrade"`
	Method   string `json:"method"`   // websocket, legacy, or "" if none was needed or has worked yet
	Evidence string `json:"evidence"` // "" without a test of ours
	Detail   string `json:"detail"`   // the evidence for people
	Source   string `json:"source"`   // environment, profile, memory or test
}

// ConnOpen says that a client was accepted.
type ConnOpen struct {
	ID     int64  `json:"id"`     // counts from 1
	Client string `json:"client"` // its address; "" or "@" on a socket
}

// ConnClose says how a connection has ended.
type ConnClose struct {
	ID         int64   `json:"id"`
	Sent       int64   `json:"sent"`     // bytes from the client
	Received   int64   `json:"received"` // bytes to the client
	DurationMS float64 `json:"duration_ms"`
	Reason     string  `json:"reason"` // see localproxy.Reason
	Error      *string `json:"error"`  // one line; null if it ended in order
}

// ConnDenied says that a client was turned away before anything was done for
// it, because it belongs to another local user, or was gone before that could be
// found out.
type ConnDenied struct {
	Client string `json:"client"`
	Error  string `json:"error"`
}

// CertExpiring says that the certificate on disk will not be good for long, or
// has ended.
type CertExpiring struct {
	Resource    string    `json:"resource"` // the one that it is for
	Expires     time.Time `json:"expires"`
	SecondsLeft int64     `json:"seconds_left"` // 0 when it has ended
}

// CertRenewed says that new connections show another certificate.
type CertRenewed struct {
	Resource string    `json:"resource"` // the one that it is for
	Expires  time.Time `json:"expires"`
}

// Draining says that no connection is accepted any more.
type Draining struct {
	Open int `json:"open"` // connections that go on for a while
}

// Dropped says that lines are missing before this one, because the reader was
// too slow.
type Dropped struct {
	Count int64 `json:"count"`
}

func (Listening) name() string    { return "listening" }
func (Verdict) name() string      { return "verdict" }
func (ConnOpen) name() string     { return "conn_open" }
func (ConnClose) name() string    { return "conn_close" }
func (ConnDenied) name() string   { return "conn_denied" }
func (CertExpiring) name() string { return "cert_expiring" }
func (CertRenewed) name() string  { return "cert_renewed" }
func (Draining) name() string     { return "draining" }
func (Dropped) name() string      { return "dropped" }

// encode returns the line of e.
func encode(e Event, now time.Time) ([]byte, error) {
	head, err := json.Marshal(struct {
		V     int       `json:"v"`
		Time  time.Time `json:"time"` // RFC 3339 with nanoseconds
		Event string    `json:"event"`
	}{Version, now.UTC(), e.name()})
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	line := append(head[:len(head)-1], ',') // every kind has keys of its own
	return append(append(line, body[1:]...), '\n'), nil
}
