package program

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
)

type grammar struct {
	Loud bool
	Sing sing `cmd:"" help:"Sing."`
}

type sing struct {
	Song string `arg:"" help:"What."`
}

var errSung = errors.New("sung")

func (s *sing) Run(ctx context.Context, sung *[]string) error {
	*sung = append(*sung, s.Song)
	return errSung
}

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name  string
		args  []string
		usage string // part of a *UsageError
		err   error
		out   string
		sung  string
	}{
		{name: "runs", args: []string{"sing", "la"}, err: errSung, sung: "la"},
		{name: "no arguments", out: "Usage: choir"},
		{name: "help", args: []string{"sing", "--help"}, out: "Usage: choir sing"},
		{name: "unknown command", args: []string{"dance"}, usage: "dance; see: choir --help"},
		{name: "unknown flag", args: []string{"sing", "la", "--high"}, usage: "see: choir sing --help"},
		{name: "missing argument", args: []string{"sing"}, usage: "see: choir sing --help"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var g grammar
			var out bytes.Buffer
			var sung []string
			parsed := false
			err := Run(t.Context(), &g, Spec{Name: "choir", Stdout: &out, Stderr: &out, Bind: []any{&sung}, Parsed: func() { parsed = true }}, tt.args)
			var usage *UsageError
			switch {
			case tt.usage != "":
				if !errors.As(err, &usage) || !strings.Contains(err.Error(), tt.usage) {
					t.Errorf("Run = %v", err)
				}
			case !errors.Is(err, tt.err):
				t.Errorf("Run = %v, want %v", err, tt.err)
			}
			if !strings.Contains(out.String(), tt.out) || strings.Join(sung, " ") != tt.sung {
				t.Errorf("printed %q, sang %q", out.String(), sung)
			}
			if parsed != (tt.sung != "") {
				t.Errorf("parsed: %v", parsed)
			}
		})
	}
}

func TestLine(t *testing.T) {
	if got := Line(errors.New("two\nlines \x1b[2J\x07end")); got != "two lines [2J end" {
		t.Errorf("Line = %q", got)
	}
}
