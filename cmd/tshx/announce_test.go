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
	for _, key := range []string{"host", "port", "engine", "database", "expires", "command", "url", "ca_file"} {
		if got[key] != nil {
			t.Errorf("%s: %v, want null", key, got[key])
		}
	}
	if len(got) != len(jsonKeys(a)) {
		t.Errorf("%d keys, want %d", len(got), len(jsonKeys(a)))
	}
}
