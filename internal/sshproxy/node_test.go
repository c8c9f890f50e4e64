package sshproxy

import (
	"errors"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestParseTarget(t *testing.T) {
	tests := []struct {
		in, user string
		node     Node
		bad      bool
	}{
		{in: "node1", node: Node{Host: "node1"}},
		{in: "root@node1:3022", user: "root", node: Node{Host: "node1", Port: "3022"}},
		{in: "a@corp.com@node1:22", user: "a@corp.com", node: Node{Host: "node1", Port: "22"}},
		{in: "root@[2001:db8::1]:22", user: "root", node: Node{Host: "2001:db8::1", Port: "22"}},
		{in: "[::1]", node: Node{Host: "::1"}},
		{in: "2001:db8::1", node: Node{Host: "2001:db8::1"}},
		{in: "node1:", node: Node{Host: "node1"}},
		{in: "", bad: true},
		{in: "root@", bad: true},
		{in: "@node1", bad: true},
		{in: "node1:65536", bad: true},
		{in: "root@:22", bad: true},
		{in: "node:ssh", bad: true},
		{in: "no de", bad: true},
		{in: "a\x00b", bad: true},
	}
	for _, tt := range tests {
		user, node, err := ParseTarget(tt.in)
		if (err != nil) != tt.bad || user != tt.user || node != tt.node {
			t.Errorf("ParseTarget(%q) = %q, %+v, %v", tt.in, user, node, err)
		}
	}
}

func TestTidyAndSubsystem(t *testing.T) {
	tests := []struct {
		node Node
		want string
	}{
		{Node{"node1", "3022", "real.example.com"}, "proxy:node1:3022@real.example.com"},
		{Node{"node1.real.example.com", "3022", "real.example.com"}, "proxy:node1:3022@real.example.com"},
		{Node{"node1.proxy.example.com", "", "real.example.com"}, "proxy:node1:0@real.example.com"},
		{Node{"node1.real.example.com.proxy.example.com", "1", "real.example.com"}, "proxy:node1:1@real.example.com"},
		{Node{"proxy.example.com", "1", "c"}, "proxy:proxy.example.com:1@c"},
		{Node{"a.proxy.example.com.real.example.com", "1", "real.example.com"}, "proxy:a.proxy.example.com:1@real.example.com"},
		{Node{"node1", "22", ""}, "proxy:node1:22"},
		{Node{"::1", "22", "c"}, "proxy:[::1]:22@c"},
	}
	for _, tt := range tests {
		if got := tt.node.Tidy("proxy.example.com").subsystem(); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.node, got, tt.want)
		}
	}
}

func TestLogin(t *testing.T) {
	cert := func(p ...string) *ssh.Certificate { return &ssh.Certificate{ValidPrincipals: p} }
	tests := []struct {
		name   string
		cert   *ssh.Certificate
		want   string
		osUser string
		login  string
		bad    bool
	}{
		{"asked for", cert("root", "alice", "-teleport-internal-join"), "alice", "x", "alice", false},
		{"asked for, not allowed", cert("root", "alice"), "bob", "alice", "", true},
		{"system's user", cert("root", "alice"), "", "alice", "alice", false},
		{"first login", cert("-teleport-internal-join", "root", "alice"), "", "x", "root", false},
		{"only a marker", cert("-teleport-nologin-1"), "", "x", "-teleport-nologin-1", false},
		{"none", cert(), "", "x", "", true},
	}
	for _, tt := range tests {
		got, err := Login(tt.cert, tt.want, tt.osUser)
		var bad *LoginError
		if got != tt.login || errors.As(err, &bad) != tt.bad {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
}
