package main

import (
	"fmt"
	"maps"
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
	told map[string]time.Time // reasons, and when
}

const (
	repeatAfter = 10 * time.Second
	reasonsMost = 32 // remembered at a time
)

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
	maps.DeleteFunc(r.told, func(_ string, at time.Time) bool { return now.Sub(at) >= repeatAfter })
	reason := strings.Map(noDigit, line) // ports of our own differ each time
	if _, ok := r.told[reason]; ok {
		return
	}
	if r.told == nil || len(r.told) == reasonsMost {
		r.told = map[string]time.Time{}
	}
	r.told[reason] = now
	say(r.env, fmt.Sprintf("connection to %s failed: %s", r.what, line))
}
