package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tshx/internal/balancer"
	"tshx/internal/reversetunnel"
)

func TestAgentConfigErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "nothing to serve: list nodes, databases, apps or kube",
		"nodes: [{name: a}]":                 `node "a": an agent needs to know where it is`,
		"kube: [{name: a}]":                  `kube "a": an agent needs to know where it is`,
		"apps: [{name: a, uri: \"tcp://\"}]": `app "a": an agent needs to know where it is`,
		"databases: [{name: a, protocol: redis}]":                          `database "a": an agent needs to know where it is`,
		"databases: [{name: a, protocol: redis, agent: true}]":             `database "a": "agent" belongs into the configuration of the lab`,
		"nodes: [{name: a, addr: \"b:1\"}, {name: a, addr: \"b:1\"}]":      `node "a" is there twice`,
		"nodes: [{name: a, addr: b}]":                                      `node a: "b" is no host:port`,
		"apps: [{name: a, aws: {access_key_id: x, secret_access_key: y}}]": `app "a": an AWS account is served by the proxy, not by an agent`,
		"cluster: x": `line 1: unknown key "cluster"`,
		"heartbeat_interval: -1s\nnodes: [{name: a, addr: \"b:1\"}]": "heartbeat_interval: cannot be negative",
	} {
		if _, err := parseAgentConfig([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"nodes: [{name: a, addr: \"b:1\", agent: true}]":                                `node "a": where it is belongs into the configuration of the agent`,
		"apps: [{name: a, uri: \"tcp://b:1\", agent: true}]":                            `app "a": where it is belongs into the configuration of the agent`,
		"apps: [{name: a, uri: \"https://\", agent: true}]":                             `app "a": uri "https://" needs a host`,
		"apps: [{name: a, agent: true, aws: {access_key_id: x, secret_access_key: y}}]": `app "a": an AWS account is served by the proxy, not by an agent`,
	} {
		if _, err := parseConfig([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestAgentIdentityErrors(t *testing.T) {
	dir := t.TempDir()
	id := &AgentIdentity{Dir: dir}
	if _, err := id.Addr(); !errors.Is(err, ErrNoAgentIdentity) || !strings.Contains(err.Error(), dir) {
		t.Errorf("an empty directory: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, agentFile), []byte("host_id: a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := id.Load(); err == nil || !strings.Contains(err.Error(), "is no identity of an agent") {
		t.Errorf("half a file: %v", err)
	}
}

// WriteAgent's files are the owner's alone, and a new identity is one of the same
// host.
func TestWriteAgent(t *testing.T) {
	l := start(t, Config{})
	dir := filepath.Join(t.TempDir(), "agent")
	ids := map[string]bool{}
	for range 2 {
		if err := l.WriteAgent(dir, l.Addr); err != nil {
			t.Fatal(err)
		}
		id, err := (&AgentIdentity{Dir: dir}).Load()
		if err != nil {
			t.Fatal(err)
		}
		ids[id.HostID] = true
	}
	if len(ids) != 1 {
		t.Errorf("hosts %v", ids)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 6 {
		t.Errorf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
	env := func(string) string { return "other.example.com:443" }
	for want, id := range map[string]*AgentIdentity{
		l.Addr:                  {Dir: dir},
		"other.example.com:443": {Dir: dir, Getenv: env},
		"flag.example.com:1":    {Dir: dir, Getenv: env, Proxy: "flag.example.com:1"},
	} {
		if got, err := id.Addr(); got != want || err != nil {
			t.Errorf("address %q, %v, want %q", got, err, want)
		}
	}
}

// An agent in front of which a balancer is put finds the other way by itself, and
// one of another cluster is refused.
func TestAgentWays(t *testing.T) {
	l := start(t, Config{Apps: []App{{Name: "echo", URI: "tcp://", Agent: true}}})
	dir := filepath.Join(t.TempDir(), "agent")
	if err := l.WriteAgent(dir, l.Addr); err != nil {
		t.Fatal(err)
	}
	up := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	config := AgentConfig{Apps: []App{{Name: "echo", URI: "tcp://127.0.0.1:1"}}}
	go func() {
		ended <- RunAgent(ctx, AgentOptions{Config: config, Identity: &AgentIdentity{Dir: dir}, Up: func(id string) { up <- id }})
	}()
	for _, o := range []*balancer.Options{nil, {}, {L4: true}, nil} {
		if o != nil {
			if err := l.PutBalancer(*o); err != nil {
				t.Fatal(err)
			}
		} else {
			l.RemoveBalancer()
		}
		l.CloseConns()
		select {
		case <-up:
		case err := <-ended:
			t.Fatalf("the agent ended: %v", err)
		case <-time.After(20 * time.Second):
			t.Fatal("no tunnel")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	other := start(t, Config{})
	if err := other.WriteAgent(dir, l.Addr); err != nil {
		t.Fatal(err)
	}
	if err := l.WriteWebCA(filepath.Join(dir, agentWebCA)); err != nil { // a public one, so to speak
		t.Fatal(err)
	}
	err := RunAgent(t.Context(), AgentOptions{Config: config, Identity: &AgentIdentity{Dir: dir}})
	var untrusted *reversetunnel.UntrustedError
	if !errors.As(err, &untrusted) {
		t.Errorf("ended with %v", err)
	}
}

// A balancer's own CA comes from a file beside the identity.
func TestAgentCAFile(t *testing.T) {
	l := start(t, Config{Apps: []App{{Name: "echo", URI: "tcp://", Agent: true}}, Balancer: &Balancer{}})
	dir := filepath.Join(t.TempDir(), "agent")
	if err := l.WriteAgent(dir, l.BalancerAddr); err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.Rename(filepath.Join(dir, agentWebCA), ca); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"", ca} {
		ctx, cancel := context.WithCancelCause(t.Context())
		came, failed := errors.New("came"), errors.New("failed")
		err := RunAgent(ctx, AgentOptions{
			Config: AgentConfig{Apps: []App{{Name: "echo", URI: "tcp://127.0.0.1:1"}}}, Identity: &AgentIdentity{Dir: dir, CAFile: file},
			Up: func(string) { cancel(came) }, Retry: func(error) { cancel(failed) },
		})
		if want := map[string]error{"": failed, ca: came}[file]; err != nil || context.Cause(ctx) != want {
			t.Errorf("with %q: %v, %v", file, context.Cause(ctx), err)
		}
	}
}
