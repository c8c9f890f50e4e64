package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"tshx/internal/plain"
)

// say prints one line of talk, of which any part may be somebody else's text.
func say(env *Env, line string) { fmt.Fprintf(env.Stderr, "tshx: %s\n", plain.Line(line, 0)) }

func connections(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}

// reporter prints why connections failed, and the same reason only once in a
// while: a client that retries must not flood the terminal.
type reporter struct {
	env  *Env
	what string

	mu   sync.Mutex
	last string
	at   time.Time
}

const repeatAfter = 10 * time.Second

func noDigit(r rune) rune {
	if '0' <= r && r <= '9' {
		return -1
	}
	return r
}

func (r *reporter) report(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := explain(err)
	now := r.env.Now()
	reason := strings.Map(noDigit, line) // ports of our own differ each time
	if reason == r.last && now.Sub(r.at) < repeatAfter {
		return
	}
	r.last, r.at = reason, now
	say(r.env, fmt.Sprintf("connection to %s failed: %s", r.what, line))
}
