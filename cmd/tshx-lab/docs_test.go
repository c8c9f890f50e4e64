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
}

func same(text string) string {
	for _, v := range varies {
		text = v.what.ReplaceAllString(text, v.by)
	}
	return text
}

// What the document about Kubernetes shows is what happens in the lab, in each of
// its sections from the beginning.
func TestKubernetesDocument(t *testing.T) {
	if testing.Short() {
		t.Skip("builds tshx")
	}
	if _, err := exec.LookPath("kubectl"); err != nil && os.Getenv("CI") == "" {
		t.Skip("needs kubectl")
	}
	doc, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.Start(t.Context(), lab.Demo())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tshx := build(t)
	t.Setenv("PATH", filepath.Dir(tshx)+string(filepath.ListSeparator)+os.Getenv("PATH"))
	t.Setenv("HOME", t.TempDir())
	ran := 0
	for section := range strings.SplitSeq(string(doc), "\n## ") {
		commands := shownIn(section)
		if len(commands) == 0 {
			continue
		}
		d := &demo{lab: l, tshx: tshx, dir: t.TempDir()}
		if err := d.login("home", l.Addr); err != nil {
			t.Fatal(err)
		}
		d.vars = append(d.vars, "TSHX_PORT_RANGE=off") // another test may have the port
		if !strings.Contains(section, "$ tshx kube login") {
			d.runs(t, "tshx kube login demo", 1)
		}
		for _, s := range commands {
			got := d.runs(t, s.command, strings.Count(s.output, "\n"))
			if diff := cmp.Diff(same(s.output), same(strings.ReplaceAll(got, d.dir, "/tmp/lab"))); diff != "" {
				t.Errorf("%s:\n%s", s.command, diff)
			}
			ran++
		}
	}
	if ran < 7 {
		t.Errorf("only %d commands were found", ran)
	}
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
