package main

import (
	"testing"
	"time"

	"tshx/internal/egress"
	"tshx/internal/profile"
	"tshx/internal/tlsroute"
)

// Programs read all times in UTC, wherever the user is.
func TestStatusInUTC(t *testing.T) {
	here := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("here", 3600))
	if got := newCertReport(profile.CertStatus{NotAfter: here}, here).Expires; got.Location() != time.UTC || !got.Equal(here) {
		t.Errorf("expires %v", got)
	}
	finder := &tlsroute.Finder{
		Getenv: func(string) string { return "" }, Now: func() time.Time { return here },
		Profile: &tlsroute.Way{Source: tlsroute.SourceProfile, At: here},
	}
	env, _ := testEnv()
	l := &login{Profile: &profile.Profile{WebAddr: "localhost:1"}, finder: finder, egress: &egress.Dialer{Getenv: finder.Getenv}}
	if got := l.transport(env).At; got.Location() != time.UTC || !got.Equal(here) {
		t.Errorf("transport found at %v", got)
	}
}
