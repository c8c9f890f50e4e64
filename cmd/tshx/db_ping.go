package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"tshx/internal/conn"
	"tshx/internal/dbproxy"
	"tshx/internal/program"
)

// pingTime bounds the wait for the database's part of a ping.
const pingTime = 15 * time.Second

type dbPingCmd struct {
	dbFlags
	optionalDB
	Count    int           `placeholder:"N" default:"1" help:"How many times, each on a connection of its own."`
	Interval time.Duration `placeholder:"TIME" default:"1s" help:"Pause between two pings. Default: ${default}."`
	Format   string        `short:"f" enum:"text,json" default:"text" help:"Output format: text, or json, one object in one line for each ping."`
}

// dbPong is one answered ping. The keys are stable.
type dbPong struct {
	Seq       int     `json:"seq"` // counts from 1
	Name      string  `json:"name"`
	Cluster   string  `json:"cluster"`
	Protocol  string  `json:"protocol"`
	Version   *string `json:"version"` // of the server; null if it does not say before a login
	Note      *string `json:"note"`    // what the server wants besides
	Proxy     string  `json:"proxy"`
	Transport string  `json:"transport"` // raw, websocket or legacy
	TLS       pongTLS `json:"tls"`
	Connect   float64 `json:"connect_ms"`    // until TLS with the proxy was up
	RoundTrip float64 `json:"round_trip_ms"` // from a request to the database to its answer

	title string
}

// pongTLS is the TLS connection with the proxy, inside of an upgrade if there
// is one.
type pongTLS struct {
	Version string `json:"version"`
	Cipher  string `json:"cipher"`
	ALPN    string `json:"alpn"`
}

// Run pings the database. Each failure is one line; the exit code is that of
// the last one. Several pings, and those that a signal has ended, are summed up
// for people.
func (c *dbPingCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	if c.Count < 1 {
		return program.Usagef("--count %d: want 1 or more", c.Count)
	}
	if c.Interval < 0 {
		return program.Usagef("--interval %v: want 0 or more", c.Interval)
	}
	d, err := g.openDatabase(env, c.Name, c.Cluster, c.dbFlags)
	if err != nil {
		return err
	}
	sum := &pingSum{}
	code := exitOK
	for seq := 1; seq <= c.Count && pause(ctx, seq, c.Interval); seq++ {
		pong, err := d.ping(ctx, env, seq)
		sum.add(pong)
		switch {
		case err == nil:
			if err := c.print(env.Stdout, pong); err != nil {
				return err
			}
		case !program.Signalled(ctx):
			code = exitCode(err)
			say(env, explain(err))
		}
	}
	if program.Signalled(ctx) {
		code = program.ExitInterrupted
	}
	if c.Format != formatJSON && (c.Count > 1 || program.Signalled(ctx)) {
		if err := printText(env.Stdout, sum.String()+"\n"); err != nil {
			return err
		}
	}
	return childExit(code) // what went wrong has been said
}

// pause waits between two pings and reports whether there is a next one.
func pause(ctx context.Context, seq int, interval time.Duration) bool {
	if seq == 1 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(interval)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// noPingError says that an engine has no ping.
type noPingError struct {
	title string
}

func (e *noPingError) Error() string { return "there is no ping for " + e.title }

// ping opens a connection to the database and does the engine's handshake.
func (d *database) ping(ctx context.Context, env *Env, seq int) (*dbPong, error) {
	if d.Engine.Ping == nil {
		return nil, &noPingError{d.Engine.Title}
	}
	start := time.Now()
	c, err := d.patient(env, d.dialer).Dial(ctx, d.Engine.Route(d.Name, d.Cert))
	connect := time.Since(start)
	switch {
	case timedOut(err):
		return nil, &silenceError{d: d, after: connect, proxy: true, err: err}
	case err != nil:
		return nil, err
	}
	defer c.Close()
	pong, err := d.ask(ctx, c)
	if err != nil {
		return nil, err
	}
	return &dbPong{
		Seq: seq, Name: d.Name, Cluster: d.Cluster, Protocol: d.Engine.Protocol, title: d.Engine.Title,
		Version: notEmpty(pong.Version), Note: notEmpty(pong.Note),
		Proxy: d.WebAddr, Transport: d.reached(env), TLS: tlsOf(c),
		Connect: milliseconds(connect), RoundTrip: milliseconds(pong.RoundTrip),
	}, nil
}

// ask does the engine's handshake on c.
func (d *database) ask(ctx context.Context, c net.Conn) (dbproxy.Pong, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	defer context.AfterFunc(ctx, func() { c.Close() })()
	at := d.Endpoint
	at.Host, at.Port, _ = net.SplitHostPort(d.WebAddr) // for protocols that name whom they talk to
	pong, err := d.Engine.Ping(ctx, c, at)
	switch {
	case err == nil:
		return pong, nil
	case timedOut(err), errors.Is(ctx.Err(), context.DeadlineExceeded):
		return pong, &silenceError{d: d, after: time.Since(start), err: err}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), conn.PeerGone(err):
		err = dbproxy.ErrNoAnswer
	}
	return pong, fmt.Errorf("ping %s: %w", d.title(), err)
}

// reached is how the proxy was just reached. A way that is not remembered was a
// guess at raw TLS, which has worked.
func (d *database) reached(env *Env) string {
	if word := transportWord(d.finder, env.Getenv); word != "unknown" {
		return word
	}
	return "raw"
}

// tlsOf describes the outermost layer of c that is TLS.
func tlsOf(c net.Conn) pongTLS {
	for {
		if t, ok := c.(*tls.Conn); ok {
			st := t.ConnectionState()
			return pongTLS{Version: tls.VersionName(st.Version), Cipher: tls.CipherSuiteName(st.CipherSuite), ALPN: st.NegotiatedProtocol}
		}
		wrapped, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return pongTLS{}
		}
		c = wrapped.NetConn()
	}
}
