package upgrade

import (
	"strings"
	"testing"
)

func TestFromEnv(t *testing.T) {
	const addr = "proxy.example.com:443"
	for _, tc := range []struct {
		name, value       string
		required, decided bool
	}{
		{"empty", "", false, false},
		{"bare true", "true", true, true},
		{"bare word in capitals", "YEAH", true, true},
		{"bare false", "off", false, true},
		{"unparsable", "maybe", false, true},
		{"separators only", ",;", false, true},
		{"last bare wins", "yes;no,1", true, true},
		{"last bare wins, false", "1,0", false, true},
		{"unparsable bare is skipped", "on,what", true, true},
		{"address", addr + "=y", true, true},
		{"address beats bare before", "no," + addr + "=1", true, true},
		{"address beats bare behind", addr + "=nope;true", false, true},
		{"first address wins", addr + "=on;" + addr + "=off", true, true},
		{"unparsable address is false", addr + "=perhaps,true", false, true},
		{"empty address value is false", addr + "=,true", false, true},
		{"other port", "proxy.example.com:3080=true", false, true},
		{"other port, bare for the rest", "proxy.example.com:3080=false;true", true, true},
		{"longer host", "my" + addr + "=true", false, true},
		{"host without port", "proxy.example.com=true", false, true},
		{"spaces", " no , " + addr + "=true ", true, true},
		{"second equals sign", addr + "=true=true", false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			required, decided := FromEnv(tc.value, addr)
			if required != tc.required || decided != tc.decided {
				t.Errorf("FromEnv(%q) = %v, %v, want %v, %v", tc.value, required, decided, tc.required, tc.decided)
			}
		})
	}
}

func TestBoolWords(t *testing.T) {
	for word, want := range map[string]bool{
		"true": true, "yes": true, "yeah": true, "y": true, "1": true, "on": true,
		"false": false, "no": false, "nope": false, "n": false, "0": false, "off": false,
	} {
		for _, w := range []string{word, strings.ToUpper(word)} {
			// The opposite stands before it, so that an unknown word fails.
			before := "yes,"
			if want {
				before = "no,"
			}
			if got, _ := FromEnv(before+w, "h:1"); got != want {
				t.Errorf("FromEnv(%q) = %v", before+w, got)
			}
		}
	}
}

func TestMethodFromEnv(t *testing.T) {
	for value, want := range map[string]Method{
		"": Auto, "legacy": Legacy, "LEGACY": Legacy, "Legacy": Legacy, "websocket": Auto, "legacy ": Auto, "1": Auto,
	} {
		if got := MethodFromEnv(value); got != want {
			t.Errorf("MethodFromEnv(%q) = %q, want %q", value, got, want)
		}
	}
}

func FuzzFromEnv(f *testing.F) {
	for _, s := range []string{"", "true", "h:1=1;no", ",,=;", "h:1=", "=true"} {
		f.Add(s, "h:1")
	}
	f.Fuzz(func(t *testing.T, value, addr string) {
		required, decided := FromEnv(value, addr)
		if decided != (value != "") {
			t.Errorf("decided = %v for %q", decided, value)
		}
		if required && !decided {
			t.Errorf("required without a decision for %q", value)
		}
		// An entry for exactly this address in front decides, whatever follows.
		if strings.ContainsAny(addr, "=,;") || strings.TrimSpace(addr) != addr {
			return
		}
		if got, _ := FromEnv(addr+"=on;"+value, addr); !got {
			t.Errorf("entry for %q in front of %q did not win", addr, value)
		}
	})
}
