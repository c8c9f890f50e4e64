package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"tshx/internal/dbproxy"
	"tshx/internal/localproxy"
	"tshx/internal/profile"
)

const scriptingDoc = "docs/scripting.md"

// jsonKeys lists the keys of a struct.
func jsonKeys(v any) []string {
	var keys []string
	for f := range reflect.TypeOf(v).Fields() {
		if key, _, _ := strings.Cut(f.Tag.Get("json"), ","); key != "-" {
			keys = append(keys, key)
		}
	}
	return keys
}

// The document for scripts names every key, event, reason, placeholder and
// flag.
func TestScriptingDocument(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(moduleRoot, scriptingDoc))
	if err != nil {
		t.Fatal(err)
	}
	names := jsonKeys(announcement{})
	for _, r := range []localproxy.Reason{localproxy.EOF, localproxy.ClientGone, localproxy.UpstreamError, localproxy.Refused, localproxy.Drain, localproxy.Failure} {
		names = append(names, string(r))
	}
	for name := range (&announcement{}).placeholders() {
		names = append(names, name)
	}
	var schema struct {
		Defs map[string]struct {
			Required   []string
			Properties map[string]struct{ Enum []string }
		} `json:"$defs"`
	}
	sb, err := os.ReadFile(filepath.Join(moduleRoot, "docs/events.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(sb, &schema); err != nil {
		t.Fatal(err)
	}
	for event, def := range schema.Defs {
		names = append(append(names, event), def.Required...)
	}
	if len(schema.Defs) == 0 {
		t.Error("the schema has no events")
	}
	if got := schema.Defs["conn_close"].Properties["reason"].Enum; len(got) != 6 {
		t.Errorf("reasons in the schema: %q", got)
	}
	for _, name := range names {
		if !bytes.Contains(b, []byte("`"+name+"`")) {
			t.Errorf("%s does not name `%s`", scriptingDoc, name)
		}
	}
	for _, flag := range []string{"--port", "--port-range", "--listen", "--format", "--port-file", "--ready-fd", "--events", "--allow-any-local-user"} {
		if !bytes.Contains(b, []byte("`"+flag)) {
			t.Errorf("%s does not name %s", scriptingDoc, flag)
		}
	}
}

const evil = "a\x1b[2J\u009b\nurl: x"

func isPlain(t *testing.T, text string, lines int) {
	t.Helper()
	if strings.ContainsAny(text, "\x1b\u009b") || strings.Count(text, "\n") != lines {
		t.Errorf("not plain, or not %d lines: %q", lines, text)
	}
}

// Names of a certificate reach a terminal without their control characters,
// and programs as they are.
func TestAnnouncementPlain(t *testing.T) {
	e, err := dbproxy.Lookup("redis")
	if err != nil {
		t.Fatal(err)
	}
	d := &database{
		login: &login{Profile: &profile.Profile{Cluster: evil}}, Name: evil, Engine: e,
		Endpoint: dbproxy.Endpoint{Name: evil, User: evil, Files: dbproxy.Files{CA: evil, Cert: evil, Key: evil}},
	}
	env, talk := testEnv()
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	a := newAnnouncement(&service{login: d.login, Kind: "db", Resource: evil}, addr)
	d.announce(env, &a, addr)
	isPlain(t, a.text(), 7)
	isPlain(t, talk.String(), 0)
	var out bytes.Buffer
	if err := a.print(&out, "json"); err != nil {
		t.Fatal(err)
	}
	var back announcement
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back.Resource != evil || *back.User != evil || back.Cluster != evil {
		t.Errorf("JSON has %+v, %v", back, err)
	}
}

func TestTablesPlain(t *testing.T) {
	var out bytes.Buffer
	now := time.Now()
	if err := listText(&out, []listedDB{{Name: evil, Protocol: evil, User: evil, Database: evil, Cluster: evil, problem: evil}}, now); err != nil {
		t.Fatal(err)
	}
	isPlain(t, out.String(), 2)
	isPlain(t, (&dbConfig{Name: evil, Host: evil, User: evil, Database: evil, CA: "two  spaces", Cert: evil, Key: evil}).text(), 8)

	out.Reset()
	r := &statusReport{
		ProfileURL: evil, Username: evil, Cluster: evil, Roles: []string{evil}, Logins: []string{evil}, Transport: transport{Evidence: evil},
		Certificates: []certReport{{Kind: "db", Name: evil, Cluster: evil, Protocol: evil, User: evil, Database: evil, Problem: "broken", Message: evil}},
	}
	if err := r.text(&out, now); err != nil {
		t.Fatal(err)
	}
	isPlain(t, out.String(), 9)

	out.Reset()
	version := evil
	if err := (&dbPingCmd{}).print(&out, &dbPong{Seq: 1, Name: evil, Cluster: evil, Version: &version, Note: &version, Proxy: evil, TLS: pongTLS{ALPN: evil}}); err != nil {
		t.Fatal(err)
	}
	isPlain(t, out.String(), 6)
}

// The line to paste has what the client needs besides its arguments; the list
// of arguments has not.
func TestCommandVariables(t *testing.T) {
	at := dbproxy.Endpoint{Host: "127.0.0.1", Port: "1", User: "bob", Name: "shop", Tunnel: true}
	for protocol, want := range map[string]string{
		"dynamodb":  "AWS_SECRET_ACCESS_KEY=tshx AWS_SESSION_TOKEN='' AWS_DEFAULT_REGION=us-east-1 aws --endpoint-url",
		"sqlserver": "SQLCMDPASSWORD=tshx sqlcmd -S",
		"redis":     "redis-cli -h",
	} {
		e, err := dbproxy.Lookup(protocol)
		if err != nil {
			t.Fatal(err)
		}
		var a announcement
		a.setClient(e, at)
		if !strings.Contains(*a.CommandLine, want) {
			t.Errorf("%s: %s", protocol, *a.CommandLine)
		}
		if protocol == "redis" && a.CommandEnv != nil || protocol == "dynamodb" && a.CommandEnv["AWS_ACCESS_KEY_ID"] != "tshx" {
			t.Errorf("%s: variables %v", protocol, a.CommandEnv)
		}
		if strings.Contains(a.Command[0], "=") {
			t.Errorf("%s: command %q", protocol, a.Command)
		}
	}
	line := clientCommand{args: []string{"x", "y z"}, environ: []string{"A=b c", "D="}}.line()
	if want := "A='b c' D='' x 'y z'"; line != want {
		t.Errorf("line %s, want %s", line, want)
	}
}

// Every key is there, and what there is none of is null.
func TestAnnouncementNull(t *testing.T) {
	s := &service{login: &login{Profile: &profile.Profile{Cluster: "lab"}}, Kind: "app", Resource: "metrics"}
	a := newAnnouncement(s, &net.UnixAddr{Name: "/run/s", Net: "unix"})
	a.Transport = "unknown"
	var out bytes.Buffer
	if err := a.print(&out, "json"); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range jsonKeys(a) {
		v, ok := got[key]
		if !ok || v == "" {
			t.Errorf("%s: %v", key, v)
		}
	}
	for _, key := range []string{"host", "port", "engine", "database", "expires", "command", "command_env", "url", "ca_file"} {
		if got[key] != nil {
			t.Errorf("%s: %v, want null", key, got[key])
		}
	}
	if len(got) != len(jsonKeys(a)) {
		t.Errorf("%d keys, want %d", len(got), len(jsonKeys(a)))
	}
}
