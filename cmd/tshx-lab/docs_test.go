package main

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/lab"
)

// shown is a command of a document, and what it prints there.
type shown struct{ command, output string }

// shownIn returns the commands in a text that stand behind a dollar sign, but for
// those with a comment.
func shownIn(text string) (list []shown) {
	in := false
	for line := range strings.Lines(text) {
		code, indented := strings.CutPrefix(line, "    ")
		command, isCommand := strings.CutPrefix(code, "$ ")
		switch {
		case isCommand && indented:
			if in = !strings.Contains(command, "#"); in {
				list = append(list, shown{command: strings.TrimSpace(command)})
			}
		case !indented:
			in = false
		case in:
			list[len(list)-1].output += code
		}
	}
	return list
}

// varies is what differs from run to run: ports, ages and what is left of a day.
var varies = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`\b(127\.0\.0\.1:|localproxy-)\d+`), "${1}PORT"},
	{regexp.MustCompile(`(?m)(Active +)\d+s$`), "${1}AGE"},
	{regexp.MustCompile(`\b1[12] hours`), "HOURS"},
	{regexp.MustCompile(`\blocalhost:\d+`), "localhost:PORT"},
	{regexp.MustCompile(`(--cert|--key|--cacert) \S+/`), "$1 ..."}, // documents leave out where
}

func same(text string) string {
	for _, v := range varies {
		text = v.what.ReplaceAllString(text, v.by)
	}
	return text
}

// What a document shows of tshx is what happens in the lab, in each of its sections
// from the beginning.
func TestDocuments(t *testing.T) {
	if testing.Short() {
		t.Skip("builds tshx")
	}
	l, err := lab.Start(t.Context(), lab.Demo())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tshx := build(t)
	t.Setenv("PATH", filepath.Dir(tshx)+string(filepath.ListSeparator)+os.Getenv("PATH"))
	t.Setenv("HOME", t.TempDir())
	for _, doc := range []struct {
		file, client, login string
		least               int // commands
	}{
		{"kubernetes.md", "kubectl", "tshx kube login demo", 7},
		{"apps.md", "curl", "", 7},
	} {
		t.Run(doc.file, func(t *testing.T) {
			if _, err := exec.LookPath(doc.client); err != nil && os.Getenv("CI") == "" {
				t.Skip("needs " + doc.client)
			}
			text, err := os.ReadFile("../../docs/" + doc.file)
			if err != nil {
				t.Fatal(err)
			}
			ran := 0
			for section := range strings.SplitSeq(string(text), "\n## ") {
				d := &demo{lab: l, tshx: tshx, dir: t.TempDir()}
				ran += d.shows(t, section, doc.login)
			}
			if ran < doc.least {
				t.Errorf("only %d commands were found", ran)
			}
		})
	}
}

// shows runs the commands of a section, logged in to the lab and then by login,
// unless the section shows that itself. It returns how many there are.
func (d *demo) shows(t *testing.T, section, login string) int {
	t.Helper()
	commands := shownIn(section)
	if len(commands) == 0 {
		return 0
	}
	if err := d.login("home", d.lab.Addr); err != nil {
		t.Fatal(err)
	}
	d.vars = append(d.vars, "TSHX_PORT_RANGE=off") // another test may have the port
	if login != "" && !strings.Contains(section, "$ tshx kube login") {
		d.runs(t, login, 1)
	}
	for _, s := range commands {
		got := d.runs(t, s.command, strings.Count(s.output, "\n"))
		if diff := cmp.Diff(same(s.output), same(strings.ReplaceAll(got, d.dir, "/tmp/lab"))); diff != "" {
			t.Errorf("%s:\n%s", s.command, diff)
		}
	}
	return len(commands)
}

// runs returns what a command prints. One that goes on is interrupted behind the
// given number of lines.
func (d *demo) runs(t *testing.T, command string, lines int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), demoTimeout) // where it prints less
	defer cancel()
	cmd := d.command(ctx, "sh", "-c", "exec "+command)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	r, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	goesOn := strings.HasPrefix(command, "tshx proxy") && !strings.Contains(command, " -- ")
	var out strings.Builder
	for s := bufio.NewScanner(r); s.Scan(); {
		out.WriteString(s.Text() + "\n")
		if lines--; goesOn && lines == 0 {
			cancel()
		}
	}
	if err := cmd.Wait(); err != nil && ctx.Err() == nil || stderr.Len() > 0 {
		t.Errorf("%s: %v: %s", command, err, &stderr)
	}
	return out.String()
}

// The files that documents show are taken, by a lab or by an agent.
func TestDocumentedFiles(t *testing.T) {
	taken := 0
	for _, doc := range []string{"lab.md", "cloud.md"} {
		text, err := os.ReadFile("../../docs/" + doc)
		if err != nil {
			t.Fatal(err)
		}
		for block := range strings.SplitSeq(string(text), "\n\n") {
			if !regexp.MustCompile(`^    (cluster|nodes|apps):`).MatchString(block) {
				continue
			}
			file := filepath.Join(t.TempDir(), "file.yaml")
			if err := os.WriteFile(file, []byte(strings.ReplaceAll(block, "\n    ", "\n")[4:]), 0o600); err != nil {
				t.Fatal(err)
			}
			_, labErr := lab.LoadConfig(file)
			_, agentErr := lab.LoadAgentConfig(file)
			if labErr != nil && agentErr != nil {
				t.Errorf("%s:\n%s\nlab: %v\nagent: %v", doc, block, labErr, agentErr)
			}
			taken++
		}
	}
	if taken != 4 {
		t.Errorf("%d files were found, want 4", taken)
	}
}
