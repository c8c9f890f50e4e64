package program

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
)

type grammar struct {
	Loud bool
	Sing sing `cmd:"" aliases:"chant" help:"Sing."`
}

type sing struct {
	Song  string   `arg:"" help:"What."`
	Verse []string `arg:"" optional:"" help:"How."`
	Key   string   `env:"CHOIR_KEY" help:"In which."`
	With  []string `help:"Who else."`
	Times uint16   `help:"How often."`
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
		{name: "help before a command", args: []string{"help", "sing"}, out: "Usage: choir sing"},
		{name: "help alone", args: []string{"help"}, out: "Usage: choir <command>"},
		{name: "help for nothing", args: []string{"help", "dance"}, usage: "dance; see: choir --help"},
		{name: "version of a program without", args: []string{"--version"}, usage: "--version; see: choir --help"},
		{name: "unknown command", args: []string{"dance"}, usage: "dance; see: choir --help"},
		{name: "unknown flag", args: []string{"sing", "la", "--high"}, usage: "see: choir sing --help"},
		{name: "missing argument", args: []string{"sing"}, usage: "<song> is missing; see: choir sing --help"},
		{name: "missing value", args: []string{"sing", "la", "--key"}, usage: "--key needs a value; see: choir sing --help"},
		{name: "flag for a value", args: []string{"sing", "la", "--key", "--loud"}, usage: "--key needs a value, and --loud is a flag; if it is the value: --key=--loud; see: choir sing --help"},
		{name: "no number", args: []string{"sing", "la", "--times=99999"}, usage: `--times: "99999" is no number, or too large; see: choir sing --help`},
		{name: "empty value", args: []string{"sing", "la", "--key="}, usage: "--key: the value is empty; see: choir sing --help"},
		{name: "empty value apart", args: []string{"sing", "la", "--key", ""}, usage: "--key: the value is empty"},
		{name: "empty value of several", args: []string{"sing", "la", "--with="}, usage: "--with: the value is empty"},
		{name: "empty argument", args: []string{"sing", ""}, usage: "<song>: the value is empty; see: choir sing --help"},
		{name: "empty word among others", args: []string{"sing", "la", "", "li"}, err: errSung, sung: "la"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("CHOIR_KEY", "") // is no mistake of the command line
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

// full is a device without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestHelpThatCannotBeWritten(t *testing.T) {
	for _, args := range [][]string{nil, {"--help"}, {"help", "sing"}} {
		err := Run(t.Context(), &grammar{}, Spec{Name: "choir", Stdout: full{}, Stderr: full{}}, args)
		var usage *UsageError
		if !errors.Is(err, syscall.ENOSPC) || errors.As(err, &usage) {
			t.Errorf("%v: Run = %v", args, err)
		}
	}
}

type versioned struct {
	grammar
	Version sing `cmd:"" help:"Sing the version."`
}

func TestVersionFlagIsTheCommand(t *testing.T) {
	var sung []string
	err := Run(t.Context(), &versioned{}, Spec{Name: "choir", Stdout: full{}, Stderr: full{}, Bind: []any{&sung}}, []string{"--version", "1"})
	if !errors.Is(err, errSung) || strings.Join(sung, " ") != "1" {
		t.Errorf("Run = %v, sang %q", err, sung)
	}
}

func TestLine(t *testing.T) {
	if got := Line(errors.New("two\nlines \x1b[2J\x07end")); got != "two lines [2J end" {
		t.Errorf("Line = %q", got)
	}
}
