package main

import (
	"strings"

	"tshx/internal/dbproxy"
)

// clientCommand is a client of a database, ready to be run.
type clientCommand struct {
	args    []string // the program first
	environ []string // variables, KEY=value, that it needs besides
}

// clientOf is the command of the engine's first client that is installed, or
// the first choice.
func clientOf(e *dbproxy.Engine, at dbproxy.Endpoint) clientCommand {
	c, _ := e.Client(at)
	return newClientCommand(c, at)
}

func newClientCommand(c dbproxy.Client, at dbproxy.Endpoint) clientCommand {
	cmd := clientCommand{args: append([]string{c.Program}, c.Args(at)...)}
	if c.Env != nil {
		cmd.environ = c.Env(at)
	}
	return cmd
}

// variables returns the environment as a map, nil if there is none.
func (c clientCommand) variables() map[string]string {
	if len(c.environ) == 0 {
		return nil
	}
	return variables(c.environ)
}

// line is the command with its variables for a POSIX shell.
func (c clientCommand) line() string {
	var b strings.Builder
	for _, pair := range c.environ {
		b.WriteString(assignment(pair) + " ")
	}
	return b.String() + dbproxy.Quote(c.args)
}

// variables turns KEY=value into a map.
func variables(environ []string) map[string]string {
	values := make(map[string]string, len(environ))
	for _, pair := range environ {
		key, value, _ := strings.Cut(pair, "=")
		values[key] = value
	}
	return values
}

// assignment writes KEY=value for a POSIX shell, to which a quoted key would be
// a command.
func assignment(pair string) string {
	key, value, _ := strings.Cut(pair, "=")
	return key + "=" + quote(value)
}

// quote makes one word for a POSIX shell.
func quote(word string) string { return dbproxy.Quote([]string{word}) }
