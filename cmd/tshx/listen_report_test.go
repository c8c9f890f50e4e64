package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// Reasons that take turns are each told once in a while, and so many that none is
// the same still leave no trace that grows.
func TestReporter(t *testing.T) {
	env, talk := testEnv()
	now := time.Unix(0, 0)
	env.Now = func() time.Time { return now }
	r := &reporter{env: env, what: "it"}
	for range 100 {
		r.report(errors.New("port 1 refused"))
		r.report(errors.New("port 2 refused"))
		r.report(errors.New("no certificate"))
	}
	if n := strings.Count(talk.String(), "\n"); n != 2 {
		t.Errorf("said %d lines: %s", n, talk)
	}
	now = now.Add(repeatAfter)
	r.report(errors.New("port 3 refused"))
	if n := strings.Count(talk.String(), "refused"); n != 2 {
		t.Errorf("said it %d times", n)
	}
	for i := range 10 * reasonsMost {
		r.report(fmt.Errorf("reason %s", strings.Repeat("x", i)))
	}
	if len(r.told) > reasonsMost {
		t.Errorf("remembers %d reasons", len(r.told))
	}
}
