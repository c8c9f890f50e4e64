package appproxy

import (
	"bytes"
	"context"
	"net"
	"time"

	"tshx/internal/conn"
)

// meeting is what came of waiting for who speaks first, where a client is silent.
type meeting struct {
	upstream net.Conn // by the TCP route; replays what it has said
	err      error    // why there is none
}

// meet dials the application as one of TCP and waits until one of the two says
// something. Where that is the application it is one of TCP for good: no server
// speaks HTTP first. The client goes on to be looked at: a browser may connect
// long before it asks, and what it asks then is to be guarded, for the agent of an
// HTTP application answers by this route, too.
func (p *Proxy) meet(ctx context.Context, c net.Conn, l *look) (*meeting, error) {
	up, err := p.dialTCP(ctx)
	if err != nil {
		return &meeting{err: err}, nil
	}
	said, err := l.race(c, up)
	if len(said) > 0 && !bytes.HasPrefix(said, []byte("HTTP/")) { // "HTTP/1.1 408" is no greeting
		p.prove(TCP)
	}
	if err == nil && len(said) == 0 && len(l.first) > 0 {
		err = l.at(c, Auto)
	}
	if err != nil || l.http {
		up.Close()
		return nil, err
	}
	return &meeting{upstream: conn.Buffered(up, said)}, nil
}

// race reads the first bytes of the client and of the upstream, whichever come
// first, and returns those of the upstream. Only an error of the client is one: the
// upstream's is found again.
func (l *look) race(c, up net.Conn) ([]byte, error) {
	past := time.Unix(1, 0)
	heard := make(chan []byte)
	go func() {
		buf := make([]byte, 512)
		n, _ := up.Read(buf)
		c.SetReadDeadline(past)
		heard <- buf[:n]
	}()
	buf := make([]byte, 512)
	n, err := c.Read(buf)
	l.first, l.silent = append(l.first, buf[:n]...), false
	up.SetReadDeadline(past)
	said := <-heard
	up.SetReadDeadline(time.Time{})
	c.SetReadDeadline(time.Time{})
	if err != nil && !isTimeout(err) && !conn.Orderly(err) {
		return nil, gone(err)
	}
	return said, nil
}
