package sockets

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestProcessString(t *testing.T) {
	for want, p := range map[string]Process{
		"postgres (pid 812, user pg)": {PID: 812, Name: "postgres", User: "pg"},
		"a process of user 1001":      {User: "1001"},
		"a process of user a b":       {User: "a b"},
		" (pid 2, user root)":         {PID: 2, User: "root"},
		"x\n (pid 3, user somebody)":  {PID: 3, Name: "x\n", User: "somebody"},
	} {
		if got := p.String(); got != want {
			t.Errorf("%+v: %q, want %q", p, got, want)
		}
	}
}
