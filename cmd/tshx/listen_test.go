package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/localproxy"
	"tshx/internal/profile"
	"tshx/internal/program"
)

func TestPortRange(t *testing.T) {
	for text, want := range map[string]portRange{
		"20000-29999": {20000, 29999},
		"7-7":         {7, 7},
		"1-65535":     {1, 65535},
		"off":         {},
		"0":           {},
	} {
		var got portRange
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1", "2-1", "0-5", "1-65536", "a-b", "1-2-3", "-1-5", "on"} {
		var got portRange
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// The port of a resource must never change: saved connections name it.
func TestPortOfResource(t *testing.T) {
	r := portRange{20000, 29999}
	for _, tt := range []struct {
		resource []string
		n        int
		want     uint16
	}{
		{[]string{"proxy.example.com", "example.com", "db", "orders"}, 0, 21963},
		{[]string{"proxy.example.com", "example.com", "db", "orders"}, 1, 24557},
		{[]string{"proxy.example.com", "example.com", "app", "orders"}, 0, 24626},
	} {
		if got := r.port(tt.resource, tt.n); got != tt.want {
			t.Errorf("port %d of %v is %d, want %d", tt.n, tt.resource, got, tt.want)
		}
	}
	for n := range 1000 {
		for _, r := range []portRange{{7, 7}, {1, 65535}, {65530, 65535}} {
			if p := r.port([]string{"x"}, n); p < r.low || p > r.high {
				t.Errorf("port %d of %v", p, r)
			}
		}
	}
}

func testEnv() (*Env, *bytes.Buffer) {
	var talk bytes.Buffer
	env := systemEnv()
	env.Stderr = &talk
	return env, &talk
}

// freeRange returns a range of one free port, below those that systems give out by
// themselves.
func freeRange(t *testing.T) portRange {
	t.Helper()
	for {
		p := uint16(10000 + rand.IntN(22000))
		if ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(p)))); err == nil {
			ln.Close()
			return portRange{p, p}
		}
	}
}

func TestStablePort(t *testing.T) {
	env, talk := testEnv()
	f := &listenFlags{PortRange: freeRange(t)}
	resource := []string{"proxy", "cluster", "db", "orders"}
	ln, err := f.listen(env, resource)
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	if port != int(f.PortRange.low) || talk.Len() > 0 {
		t.Errorf("port %d of %v, said %q", port, f.PortRange, talk)
	}
	// While it is taken another one is used, and that is said.
	other, err := f.listen(env, resource)
	if err != nil {
		t.Fatal(err)
	}
	instead := other.Addr().(*net.TCPAddr).Port
	if want := fmt.Sprintf("address 127.0.0.1:%d is already in use", port); !strings.Contains(talk.String(), want) ||
		!strings.HasSuffix(talk.String(), fmt.Sprintf("; using port %d instead\n", instead)) || strings.Count(talk.String(), "\n") != 1 {
		t.Errorf("said %q", talk)
	}
	other.Close()
	ln.Close()
}

func TestListenAddress(t *testing.T) {
	port := func(n uint16) *uint16 { return &n }
	for _, tt := range []struct {
		flags listenFlags
		addr  string
		named bool
		says  string // of the usage error
	}{
		{listenFlags{}, "127.0.0.1", false, ""},
		{listenFlags{Port: port(0)}, "127.0.0.1:0", true, ""},
		{listenFlags{Port: port(5432)}, "127.0.0.1:5432", true, ""},
		{listenFlags{Listen: "::1"}, "::1", false, ""},
		{listenFlags{Listen: "[::1]"}, "::1", false, ""},
		{listenFlags{Listen: "[::1]:7"}, "[::1]:7", true, ""},
		{listenFlags{Listen: "localhost", Port: port(7)}, "localhost:7", true, ""},
		{listenFlags{Listen: "localhost:7", Port: port(0)}, "", false, "both name a port"},
		{listenFlags{Listen: "localhost:http"}, "", false, `"http" is not a port number`},
		{listenFlags{Listen: "unix:/run/s"}, "unix:/run/s", true, ""},
		{listenFlags{Listen: "unix:/run/s", Port: port(0)}, "", false, "a socket has no port"},
	} {
		addr, named, err := tt.flags.address()
		if tt.says != "" {
			var usage *program.UsageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%q: %v", tt.flags.Listen, err)
			}
			continue
		}
		if err != nil || addr != tt.addr || named != tt.named {
			t.Errorf("%q: %q, %v, %v", tt.flags.Listen, addr, named, err)
		}
	}
}

// A port that somebody wants and cannot have is not replaced by another one.
func TestNamedPortTaken(t *testing.T) {
	env, talk := testEnv()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	n := uint16(taken.Addr().(*net.TCPAddr).Port)
	ln, err := (&listenFlags{Port: &n}).listen(env, nil)
	if err == nil {
		ln.Close()
	}
	var e *localproxy.PortTakenError
	if !errors.As(err, &e) || talk.Len() > 0 {
		t.Errorf("listen = %v, said %q", err, talk)
	}
}

func TestCommandPlaceholders(t *testing.T) {
	s := &service{login: &login{Profile: &profile.Profile{}}, Kind: "app", Resource: "metrics"}
	a := newAnnouncement(s, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9000})
	got, err := a.replace([]string{"x", "{addr}", "http://{host}:{port}/{{port}}", "{other}", "{", ""})
	if diff := cmp.Diff([]string{"x", "127.0.0.1:9000", "http://127.0.0.1:9000/{9000}", "{other}", "{", ""}, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	environ := a.environment()
	for _, want := range []string{"TSHX_ADDR=127.0.0.1:9000", "TSHX_HOST=127.0.0.1", "TSHX_PORT=" + strconv.Itoa(9000)} {
		if !slices.Contains(environ, want) {
			t.Errorf("no %s in %q", want, environ)
		}
	}
	a = newAnnouncement(s, &net.UnixAddr{Name: "/run/s", Net: "unix"})
	got, err = a.replace([]string{"{socket}{addr}"})
	if diff := cmp.Diff([]string{"/run/s/run/s"}, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	var usage *program.UsageError
	if _, err = a.replace([]string{"-p{port}"}); !errors.As(err, &usage) || !strings.Contains(err.Error(), "{port}") {
		t.Errorf("replace = %v", err)
	}
}

// strangeAddr is an address that no system can tell about.
type strangeAddr struct{ net.Addr }

func (strangeAddr) Network() string { return "strange" }
func (strangeAddr) String() string  { return "somewhere" }

func TestWarnUnchecked(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    listenFlags
		addr net.Addr
		says string
	}{
		{"cannot be checked", listenFlags{}, strangeAddr{}, "others on this machine can use somewhere too; --listen unix:PATH"},
		{"everybody is welcome", listenFlags{AnyLocalUser: true}, strangeAddr{}, ""},
	} {
		env, talk := testEnv()
		tt.f.warnUnchecked(env, tt.addr)
		if !strings.Contains(talk.String(), tt.says) || tt.says == "" && talk.Len() > 0 {
			t.Errorf("%s: said %q", tt.name, talk)
		}
	}
}
