package profile

import (
	"testing"
	"time"
)

func TestNearest(t *testing.T) {
	names := []string{"orders", "orders-test", "Billing", "pg"}
	for name, want := range map[string]string{
		"ordres": "orders", "order": "orders", "Orders": "orders", "orders-tset": "orders-test", "orders_test": "orders-test",
		"bill": "Billing", "billing-prod": "Billing", "pgg": "pg", "gp": "pg", "pg-prod": "pg",
		"customers": "", "": "", "x": "", "redis": "",
	} {
		if got := Nearest(name, names); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
	if got := Nearest("cach", []string{"acache", "cache"}); got != "cache" {
		t.Errorf("of two that contain it: %q", got)
	}
	if got := Nearest("a", nil); got != "" {
		t.Errorf("of none: %q", got)
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "ab", 1},
		{"abc", "xabc", 1}, {"abc", "acb", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1},
	} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestRoundAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 seconds", 0: "0 seconds", 400 * time.Millisecond: "0 seconds", time.Second: "1 second",
		119 * time.Second: "119 seconds", 2 * time.Minute: "2 minutes", 119 * time.Minute: "119 minutes",
		150 * time.Minute: "3 hours", 47 * time.Hour: "47 hours", 48 * time.Hour: "2 days", 61 * time.Hour: "3 days",
		1000 * 24 * time.Hour: "1000 days",
	} {
		if got := RoundAge(d); got != want {
			t.Errorf("RoundAge(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{
		"orders": "orders", "a@b.com": "a@b.com", "host:3080": "host:3080", "": "''", "a b": "'a b'", "a;b": "'a;b'",
		"it's": `'it'\''s'`, "$(x)": "'$(x)'", "[::1]:443": "'[::1]:443'",
	} {
		if got := shellWord(in); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestProblemString(t *testing.T) {
	seen := make(map[string]bool)
	for p := Problem(0); p <= Broken+1; p++ {
		if s := p.String(); s == "" || seen[s] {
			t.Errorf("%d: %q", int(p), s)
		} else {
			seen[s] = true
		}
	}
}
