package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"tshx/internal/plain"
)

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
		field := func(name, format string, a ...any) {
			fmt.Fprintf(&b, "%s: %s\n", name, plain.Line(fmt.Sprintf(format, a...), 0))
		}
		field("database", "%s (%s) in cluster %s", p.Name, p.title, p.Cluster)
		field("server", "%s", cmp.Or(deref(p.Version), "does not tell its version before a login"))
		if p.Note != nil {
			field("note", "%s", *p.Note)
		}
		field("proxy", "%s, %s, %s, %s", p.Proxy, p.TLS.Version, p.TLS.Cipher, p.TLS.ALPN)
		field("transport", "%s", p.Transport)
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

// pingSum sums up several pings.
type pingSum struct {
	sent  int
	trips []float64 // of those that were answered, in milliseconds
}

// add counts a ping, nil if it was not answered.
func (s *pingSum) add(p *dbPong) {
	s.sent++
	if p != nil {
		s.trips = append(s.trips, p.RoundTrip)
	}
}

func (s *pingSum) String() string {
	text := fmt.Sprintf("%d of %d answered", len(s.trips), s.sent)
	if len(s.trips) == 0 {
		return text
	}
	total := 0.0
	for _, t := range s.trips {
		total += t
	}
	return fmt.Sprintf("%s, round trip least %.1f, mean %.1f, most %.1f ms",
		text, slices.Min(s.trips), total/float64(len(s.trips)), slices.Max(s.trips))
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}
