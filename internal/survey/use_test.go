package survey

import (
	"errors"
	"io"
	"testing"

	"tshx/internal/upgrade"
)

// reportOf is a report in which all has passed but what is named here, which has
// failed or, for want of an error, was not tried.
func reportOf(required bool, other map[string]error) *Report {
	r := &Report{Raw: upgrade.Verdict{Required: required}, Public: &Certificate{Verified: true}}
	for _, name := range names(false) {
		c := Check{Name: name, Status: Passed}
		if err, ok := other[name]; ok {
			if c.Status, c.Err = Failed, err; err == nil {
				c.Status = Skipped
			}
		}
		r.Checks = append(r.Checks, c)
	}
	return r
}

// What tshx will do is what upgrade.Target.Connect does: the survey must not promise
// a way that is not taken, nor one that was not tried.
func TestUse(t *testing.T) {
	yes, no := true, false
	refused := func(status int) error { return &upgrade.RefusedError{Status: status} }
	for _, tt := range []struct {
		name     string
		required bool
		other    map[string]error
		wish     Wish
		way      string
		works    bool
	}{
		{"all", false, nil, Wish{}, "raw", true},
		{"all, behind", true, nil, Wish{}, "websocket", true},
		{"refused", true, map[string]error{WebSocketPing: refused(403)}, Wish{}, "legacy", true},
		{"one of two refused", true, map[string]error{WebSocket: refused(403)}, Wish{}, "legacy", true},
		{"hung up", true, map[string]error{WebSocketPing: io.ErrUnexpectedEOF}, Wish{}, "upgrade", false},
		// Connect does not try legacy then.
		{"rate limit", true, map[string]error{WebSocketPing: refused(429)}, Wish{}, "upgrade", false},
		{"rate limit, legacy forced", true, map[string]error{WebSocketPing: refused(429)}, Wish{Method: upgrade.Legacy}, "legacy", true},
		{"broken 101", true, map[string]error{WebSocket: refused(101)}, Wish{}, "upgrade", false},
		{"both refused", true, map[string]error{WebSocket: refused(403), Legacy: refused(403)}, Wish{}, "upgrade", false},
		{"legacy forced, and refused", true, map[string]error{LegacyPing: refused(403)}, Wish{Method: upgrade.Legacy}, "upgrade", false},
		{"raw not tried", false, map[string]error{Raw: nil}, Wish{}, "raw", false},
		{"WebSocket not tried", true, map[string]error{WebSocketPing: nil}, Wish{}, "upgrade", false},
		{"legacy not tried", true, map[string]error{WebSocket: refused(403), Legacy: nil}, Wish{}, "upgrade", false},
		{"raw forced, failed", true, map[string]error{Raw: errNotNegotiated}, Wish{Upgrade: &no}, "raw", false},
		{"upgrade forced", false, nil, Wish{Upgrade: &yes}, "websocket", true},
		{"no host certificate, raw", false, map[string]error{HostCertificate: &HostError{Err: errors.New("x")}}, Wish{}, "raw", false},
	} {
		use := reportOf(tt.required, tt.other).Use(tt.wish)
		if use.Way() != tt.way || use.Works != tt.works || use.Works != (use.Err == nil) || use.Forced != (tt.wish.Upgrade != nil) {
			t.Errorf("%s: %+v is %s, want %s", tt.name, use, use.Way(), tt.way)
		}
	}
}
