// Package program is what our programs share at their start and end: signals,
// the command line, and one line for an error.
//
//	ctx, stop := program.Signals(context.Background())
//	code := program.Run(ctx, &grammar, spec, os.Args[1:])
//
// It knows no command.
package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"tshx/internal/plain"
)

// Spec says what a program is called and what its commands' Run methods may
// ask for besides a context.Context.
type Spec struct {
	Name        string
	Description string
	Stdout      io.Writer // for help
	Stderr      io.Writer
	Bind        []any
	// Parsed is called between parsing and running. May be nil.
	Parsed func()
}

// UsageError is a mistake on the command line.
type UsageError struct {
	text string
}

func (e *UsageError) Error() string { return e.text }

// Usagef returns a *UsageError.
func Usagef(format string, a ...any) error { return &UsageError{fmt.Sprintf(format, a...)} }

// helped carries an exit code out of kong, which would end the process.
type helped int

// Run parses args by the grammar, a pointer to a kong struct, and runs the
// command. No arguments ask for help, and so does help before a command. A
// mistake in args is a *UsageError that shows the way to help.
func Run(ctx context.Context, grammar any, s Spec, args []string) (err error) {
	out := &checked{Writer: s.Stdout}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case helped:
			err = out.err
		default:
			panic(r)
		}
	}()
	parser, err := kong.New(grammar,
		kong.Name(s.Name), kong.Description(s.Description),
		kong.Writers(out, s.Stderr),
		kong.Exit(func(code int) { panic(helped(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(s.Bind...))
	if err != nil {
		return err
	}
	kctx, err := parser.Parse(usual(parser, args))
	if out.err != nil {
		return out.err
	}
	if err == nil {
		err = noneEmpty(kctx)
	}
	if err != nil {
		return usageOf(s.Name, kctx, err)
	}
	if s.Parsed != nil {
		s.Parsed()
	}
	return kctx.Run()
}

// usual turns what people try with every program into what this one takes.
func usual(parser *kong.Kong, args []string) []string {
	command := func(name string) bool {
		return slices.ContainsFunc(parser.Model.Children, func(n *kong.Node) bool { return n.Name == name })
	}
	switch {
	case len(args) == 0:
		return []string{"--help"}
	case args[0] == "help" && !command("help"):
		return append(slices.Clone(args[1:]), "--help")
	case args[0] == "--version" && command("version"):
		return append([]string{"version"}, args[1:]...)
	}
	return args
}

// checked keeps the error of the first write that failed.
type checked struct {
	io.Writer
	err error
}

func (w *checked) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("write standard output: %w", err)
	}
	return n, err
}

// noneEmpty refuses a value of the command line that is empty: most likely it is a
// variable that the caller's shell does not know, and to go on without it would be
// something else than was meant. What comes from the environment may be empty.
func noneEmpty(kctx *kong.Context) error {
	for _, p := range kctx.Path {
		var value *kong.Value
		var what string
		switch {
		case p.Flag != nil:
			value, what = p.Flag.Value, "--"+p.Flag.Name
		case p.Positional != nil && !p.Positional.IsSlice(): // words of another program may be empty
			value, what = p.Positional, "<"+p.Positional.Name+">"
		default:
			continue
		}
		empty := value.Target.Kind() == reflect.String && value.Target.Len() == 0
		if value.IsSlice() {
			words, ok := value.Target.Interface().([]string)
			empty = ok && (len(words) == 0 || slices.Contains(words, ""))
		}
		if empty {
			return fmt.Errorf("%s: the value is empty", what)
		}
	}
	return nil
}

// usageOf is a mistake on the command line with the way to help. kctx is that of
// the parser's, if it is not in err.
func usageOf(name string, kctx *kong.Context, err error) error {
	var p *kong.ParseError
	if errors.As(err, &p) && p.Context != nil {
		kctx = p.Context
	}
	help := name
	if kctx != nil {
		words := []string{}
		for n := kctx.Selected(); n != nil && n.Parent != nil; n = n.Parent { // Path has the aliases, too
			if n.Type == kong.CommandNode {
				words = append([]string{n.Name}, words...)
			}
		}
		help = strings.Join(append([]string{name}, words...), " ")
	}
	return Usagef("%s; see: %s --help", clearer(err.Error()), help)
}

// clearer puts what the parser says in terms of its tokens into words for people.
func clearer(text string) string {
	for _, r := range [][2]string{
		{`^(.*): expected \S+ value but got "EOL" \(<EOL>\)$`, "$1 needs a value"},
		{`^(.*): expected \S+ value but got "(.*)" \((?:long|short) flag\).*$`, "$1 needs a value, and $2 is a flag; if it is the value: $1=$2"},
		{`^(.*): expected a valid \d+ bit u?int but got (".*")$`, "$1: $2 is no number, or too large"},
		{`^expected "(<.*>)"$`, "$1 is missing"},
	} {
		text = regexp.MustCompile(r[0]).ReplaceAllString(text, r[1])
	}
	return text
}

// Line returns an error as one line that no terminal obeys.
func Line(err error) string { return plain.Line(err.Error(), 0) }
