package dbproxy

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// engineRow is a row of the first table of docs/databases.md.
type engineRow struct {
	title, clients, tunnel string
}

// engineRows reads that table; the keys are the names in certificates.
func engineRows(t *testing.T) map[string]engineRow {
	t.Helper()
	text, err := os.ReadFile("../../docs/databases.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]engineRow{}
	inside := false
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case len(cells) < 4 && inside:
			return rows
		case len(cells) < 4:
		case cells[1] == "In certificates":
			inside = true
		case inside && cells[0] != strings.Repeat("-", len(cells[0])):
			rows[strings.Trim(cells[1], "`")] = engineRow{cells[0], cells[2], cells[3]}
		}
	}
	return rows
}

// TestDocs holds the table of engines against the one in docs/databases.md: a
// row for each, with its title, its programs and whether it needs a tunnel.
func TestDocs(t *testing.T) {
	rows := engineRows(t)
	for _, e := range engines {
		row, ok := rows[e.Protocol]
		if !ok {
			t.Errorf("%s has no row in docs/databases.md", e.Protocol)
			continue
		}
		if !strings.HasPrefix(row.title, e.Title) {
			t.Errorf("%s: the title is %q, and in docs/databases.md %q", e.Protocol, e.Title, row.title)
		}
		for _, c := range e.Clients {
			if !strings.Contains(row.clients, "`"+c.Program+"`") && !strings.Contains(row.clients, "`"+c.Program+" ") {
				t.Errorf("%s: the row in docs/databases.md does not name %s", e.Protocol, c.Program)
			}
		}
		if want := map[bool]string{true: "yes", false: "no"}[e.TunnelOnly]; row.tunnel != want {
			t.Errorf("%s: tunnel needed %q, want %q", e.Protocol, row.tunnel, want)
		}
	}
	text, err := os.ReadFile("../../docs/databases.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range engines {
		for _, v := range slices.Concat(e.Env(Endpoint{Host: "localhost", Port: "1", User: "u", Name: "n", Files: files}), e.Env(Endpoint{Host: "localhost", Port: "1", Tunnel: true})) {
			if name, _, _ := strings.Cut(v, "="); !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("%s: docs/databases.md does not name the variable %s", e.Protocol, name)
			}
		}
	}
	for protocol := range rows {
		if !slices.Contains(Protocols(), protocol) {
			t.Errorf("docs/databases.md has a row for %q, which is no engine", protocol)
		}
	}
}
