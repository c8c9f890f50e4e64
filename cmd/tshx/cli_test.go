package main

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/program"
)

// The part of the grammar that arguments need says the same as all of it.
func TestGrammarFor(t *testing.T) {
	run := func(cli *CLI, args []string) string {
		var out bytes.Buffer
		env, _ := testEnv()
		err := program.Run(t.Context(), cli, program.Spec{Name: "tshx", Stdout: &out, Stderr: &out, Bind: []any{env, &cli.Globals}}, args)
		if err != nil {
			out.WriteString("error: " + err.Error())
		}
		return out.String()
	}
	for _, line := range []string{
		"", "help", "help proxy", "help proxy db", "--help", "nosuch",
		"version --help", "version x", "version --nosuch", "-d version x", "--version x",
		"proxy", "proxy -x", "proxy nosuch", "proxy --help", "proxy ssh", "proxy ssh --help", "proxy ssh a b", "proxy ssh --prxy=1",
		"proxy --home=x ssh", "proxy db x --warm a", "proxy app x --port-range 1", "proxy -- ssh",
		"--home=x proxy ssh --help", "--home=x --nosuch=1 proxy ssh", "--home=x --insecre proxy ssh a", "--= version",
		"db", "db lss", "db logout --help", "kube", "kube lss", "kube login --help", "proxy kube --help", "status -f yaml", "status --port 1", "config --port x",
	} {
		args := strings.Fields(line)
		want := run(&CLI{Plugins: needed(commands, nil)}, args)
		if diff := cmp.Diff(want, run(grammarFor(args), args)); diff != "" || want == "" {
			t.Errorf("%s:\n%s", line, diff)
		}
	}
	if got := grammarFor([]string{"--home=x", "version"}); len(got.Plugins) != 1 {
		t.Errorf("%d commands for one", len(got.Plugins))
	}
}

// Only the command of `proxy kube` is cut off, wherever its words stand, and not
// what looks like it in the arguments or flags of another.
func TestCutCommand(t *testing.T) {
	for _, tt := range []struct {
		line string
		ours int // how many are left; -1 is all
	}{
		{"", -1},
		{"proxy kube a", -1},
		{"proxy kube a -- sh -c --", 3},
		{"proxy kube --", 2},
		{"proxy --debug kube real -- env", 4},
		{"--proxy x proxy kube a -- b", 5},
		{"--proxy=x -d proxy kube a -- b", 5},
		{"--home h -i f --ca-file c --identity f proxy kube -- b", 10},
		{"--proxy proxy kube ls -- proxy kube", -1},
		{"proxy kube a -c proxy -- -- b", 5},
		{"kubectl exec -n proxy kube -- sh", -1},
		{"kube exec -n proxy kube -- sh", -1},
		{"kubectl exec proxy kube -- sh", -1},
		{"-- proxy kube", -1},
		{"proxy -- kube --", -1},
		{"proxy db kube -- psql", -1},
		{"proxy ssh proxy kube -- x", -1},
	} {
		args := strings.Fields(tt.line)
		want, cut := args, []string(nil)
		if tt.ours >= 0 {
			want, cut = args[:tt.ours], args[tt.ours:]
		}
		ours, command := cutCommand(args)
		if diff := cmp.Diff([][]string{want, cut}, [][]string{ours, command}); diff != "" {
			t.Errorf("%s: %s", tt.line, diff)
		}
	}
}

// The flags whose values may stand apart are those of Globals that have one.
func TestGlobalValued(t *testing.T) {
	var want []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Globals]()) {
		if f.Type.Kind() == reflect.Bool {
			continue
		}
		name := f.Tag.Get("name")
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		want = append(want, "--"+name)
		if short := f.Tag.Get("short"); short != "" {
			want = append(want, "-"+short)
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(globalValued))); diff != "" {
		t.Error(diff)
	}
}
