package main

import (
	"bytes"
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
