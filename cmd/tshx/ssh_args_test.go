package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/program"
)

func TestSSHArguments(t *testing.T) {
	for _, tt := range []struct {
		tool string // "" is ssh
		args string // fields
		pass string // what OpenSSH gets
		want sshInvocation
	}{
		{args: "node1", pass: "node1", want: sshInvocation{host: "node1"}},
		{args: "-v -p 22 root@node1 ls -F --cluster=x", pass: "-v -p 22 root@node1 ls -F --cluster=x", want: sshInvocation{host: "root@node1"}},
		{args: "-F mine node1", pass: "node1", want: sshInvocation{host: "node1", config: "mine"}},
		{args: "-Fmine node1", pass: "node1", want: sshInvocation{host: "node1", config: "mine"}},
		{args: "-4vFmine -tt node1", pass: "-4v -tt node1", want: sshInvocation{host: "node1", config: "mine"}},
		{args: "-vF mine node1", pass: "-v node1", want: sshInvocation{host: "node1", config: "mine"}},
		{args: "-F one -F two node1", pass: "node1", want: sshInvocation{host: "node1", config: "two"}},
		{args: "node1 -F mine ls -F", pass: "node1 ls -F", want: sshInvocation{host: "node1", config: "mine"}},
		// A value is none of the flags.
		{args: "-o -Fmine node1", pass: "-o -Fmine node1", want: sshInvocation{host: "node1"}},
		{args: "-oUser=F -lF node1", pass: "-oUser=F -lF node1", want: sshInvocation{host: "node1"}},
		{args: "-L 80:a:80 -NfW a:1 node1", pass: "-L 80:a:80 -NfW a:1 node1", want: sshInvocation{host: "node1"}},
		// Of tsh, before and after the node, but not in the command.
		{args: "--cluster=leaf root@node1 uptime", pass: "root@node1 uptime", want: sshInvocation{host: "root@node1", cluster: "leaf"}},
		{args: "--cluster leaf node1", pass: "node1", want: sshInvocation{host: "node1", cluster: "leaf"}},
		{args: "node1 --cluster leaf ls --cluster", pass: "node1 ls --cluster", want: sshInvocation{host: "node1", cluster: "leaf"}},
		{args: "--login root --port=22 --option A=b node1", pass: "-oUser=root -oPort=22 -oA=b node1", want: sshInvocation{host: "node1"}},
		{args: "--tty --forward-agent node1", pass: "-oRequestTTY=yes -oForwardAgent=yes node1", want: sshInvocation{host: "node1"}},
		// The end of flags.
		{args: "-- node1 ls", pass: "-- node1 ls", want: sshInvocation{host: "node1"}},
		{args: "-- --cluster=x ls", pass: "-- --cluster=x ls", want: sshInvocation{host: "--cluster=x"}},
		{args: "-- node1 --cluster=x ls", pass: "-- node1 ls", want: sshInvocation{host: "node1", cluster: "x"}},
		{args: "node1 -- --cluster=x -F y", pass: "node1 -- --cluster=x -F y", want: sshInvocation{host: "node1"}},
		// What needs no login.
		{args: "-V", pass: "-V", want: sshInvocation{offline: true}},
		{args: "-Q cipher", pass: "-Q cipher", want: sshInvocation{offline: true}},
		{args: "", want: sshInvocation{offline: true}},
		{args: "-p", pass: "-p", want: sshInvocation{offline: true}},
		{args: "--", pass: "--", want: sshInvocation{offline: true}},
		{args: "-G node1", pass: "-G node1", want: sshInvocation{host: "node1", anyLogin: true}},
		{args: "-O exit node1", pass: "-O exit node1", want: sshInvocation{host: "node1", anyLogin: true}},
		{args: "node1 ls -V", pass: "node1 ls -V", want: sshInvocation{host: "node1"}},
		{args: "--help", want: sshInvocation{help: true}},

		{tool: "scp", args: "-P 22 -l 100 a b:c", pass: "-P 22 -l 100 a b:c", want: sshInvocation{host: "a"}},
		{tool: "scp", args: "-3rOF mine --cluster=x a:1 b:2", pass: "-3rO a:1 b:2", want: sshInvocation{host: "a:1", config: "mine", cluster: "x"}},
		{tool: "scp", args: "a -F b:", pass: "a -F b:", want: sshInvocation{host: "a"}},
		{tool: "scp", args: "-- --file b:", pass: "-- --file b:", want: sshInvocation{host: "--file"}},
		{tool: "scp", args: "--login root it's b:", pass: "-oUser=root it's b:", want: sshInvocation{host: "it's"}},
		{tool: "scp", args: "-r", pass: "-r", want: sshInvocation{offline: true}},
		{tool: "sftp", args: "-b - -Fnone node1:dir", pass: "-b - node1:dir", want: sshInvocation{host: "node1:dir", config: "none"}},
	} {
		t.Run(tt.tool+" "+tt.args, func(t *testing.T) {
			tool := toolSSH
			for _, other := range []sshTool{toolSCP, toolSFTP} {
				if other.name == tt.tool {
					tool = other
				}
			}
			got, err := tool.read(strings.Fields(tt.args))
			if err != nil {
				t.Fatal(err)
			}
			if pass := strings.Join(got.args, " "); pass != tt.pass {
				t.Errorf("OpenSSH gets %q, want %q", pass, tt.pass)
			}
			got.args, got.set = nil, nil
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(sshInvocation{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSSHArgumentsOfNobody(t *testing.T) {
	for args, says := range map[string]string{
		"--frobnicate node1": "--frobnicate",
		"--tty=yes node1":    "--tty",
		"node1 --cluster":    "--cluster: expected a value",
		"it's":               "cannot be the name of a host",
		"-- it's":            "cannot be the name of a host",
	} {
		_, err := toolSSH.read(strings.Fields(args))
		var usage *program.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// Flags after the word count like those before it.
func TestSSHGlobals(t *testing.T) {
	inv, err := toolSSH.read(strings.Fields("--proxy p:1 --home=h --identity i --ca-file c --insecure --debug node1"))
	if err != nil {
		t.Fatal(err)
	}
	before := Globals{ProxyAddr: "q", Home: "x"}
	got, want := *inv.globals(&before), Globals{ProxyAddr: "p:1", Home: "h", Identity: "i", CAFile: "c", Insecure: true, Debug: true}
	if got != want || before.ProxyAddr != "q" {
		t.Errorf("got %+v", got)
	}
}
