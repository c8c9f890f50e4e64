package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"tshx/internal/conn"
	"tshx/internal/dbproxy"
	"tshx/internal/plain"
	"tshx/internal/program"
)

// pingTime bounds the wait for the database's part of a ping.
const pingTime = 15 * time.Second

type dbPingCmd struct {
	dbFlags
	optionalDB
	Count  int    `placeholder:"N" default:"1" help:"How many times, each on a connection of its own."`
	Format string `short:"f" enum:"text,json" default:"text" help:"Output format: text, or json, one object in one line for each ping."`
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
// the last one.
func (c *dbPingCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	if c.Count < 1 {
		return program.Usagef("--count %d: want 1 or more", c.Count)
	}
	d, err := g.openDatabase(env, c.Name, c.Cluster, c.dbFlags)
	if err != nil {
		return err
	}
	var failed error
	for seq := 1; seq <= c.Count; seq++ {
		pong, err := d.ping(ctx, env, seq)
		switch {
		case program.Signalled(ctx):
			return childExit(program.ExitInterrupted)
		case err != nil && seq == c.Count:
			return err
		case err != nil:
			failed = err
			say(env, explain(err))
		default:
			if err := c.print(env.Stdout, pong); err != nil {
				return err
			}
		}
	}
	if failed != nil {
		return childExit(exitCode(failed)) // it has been said
	}
	return nil
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
	c, err := d.dialer.Dial(ctx, d.Engine.Route(d.Name, d.Cert))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	connect := time.Since(start)
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	defer context.AfterFunc(ctx, func() { c.Close() })()
	at := d.Endpoint
	at.Host, at.Port, _ = net.SplitHostPort(d.WebAddr) // for protocols that name whom they talk to
	pong, err := d.Engine.Ping(ctx, c, at)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || conn.PeerGone(err) {
			err = dbproxy.ErrNoAnswer
		}
		return nil, fmt.Errorf("ping %s: %w", d.title(), err)
	}
	return &dbPong{
		Seq: seq, Name: d.Name, Cluster: d.Cluster, Protocol: d.Engine.Protocol, title: d.Engine.Title,
		Version: notEmpty(plain.Line(pong.Version, 0)), Note: notEmpty(plain.Line(pong.Note, 0)),
		Proxy: d.WebAddr, Transport: d.reached(env), TLS: tlsOf(c),
		Connect: milliseconds(connect), RoundTrip: milliseconds(pong.RoundTrip),
	}, nil
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

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

// print writes one pong. As text, what does not change is told once.
func (c *dbPingCmd) print(w io.Writer, p *dbPong) error {
	if c.Format == formatJSON {
		b, err := json.Marshal(p)
		if err != nil {
			return err
		}
		return printText(w, string(b)+"\n")
	}
	var b strings.Builder
	if p.Seq == 1 {
		fmt.Fprintf(&b, "database: %s (%s) in cluster %s\nserver: %s\n", p.Name, p.title, p.Cluster, cmp.Or(deref(p.Version), "does not tell its version before a login"))
		if p.Note != nil {
			fmt.Fprintf(&b, "note: %s\n", *p.Note)
		}
		fmt.Fprintf(&b, "proxy: %s, %s, %s, %s\ntransport: %s\n", p.Proxy, p.TLS.Version, p.TLS.Cipher, p.TLS.ALPN, p.Transport)
	}
	fmt.Fprintf(&b, "ping %d: connected in %.1f ms, round trip %.1f ms\n", p.Seq, p.Connect, p.RoundTrip)
	return printText(w, b.String())
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
