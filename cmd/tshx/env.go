package main

import (
	"io"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"tshx/internal/upgrade"
)

// Env is what a command uses of the process it runs in. The environment
// variables of flags are read by the command line's parser.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer // the answer; in `proxy ssh` the wire
	Stderr io.Writer // talk
	Getenv func(string) string
	Now    func() time.Time
	// Command is the end of the command line that cutCommand took off.
	Command []string
	// Interrupted says that SIGINT has ended a program that ran in our place.
	Interrupted bool
	// EndBySIGINT has main end by that signal, too. Shells stop a loop only for
	// a program that does.
	EndBySIGINT bool
	Log         *slog.Logger
}

func systemEnv() *Env {
	return &Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
}

// home returns the user's home directory: the environment's, else the
// account's. It is empty if there is none.
func (e *Env) home() string {
	if h := e.Getenv("HOME"); h != "" {
		return h
	}
	if h, err := os.UserHomeDir(); err == nil {
		return h
	}
	if u, err := user.Current(); err == nil {
		return u.HomeDir
	}
	return ""
}

// noHomeError says that a file has no place.
type noHomeError struct {
	err      error  // what is not possible therefore
	variable string // the environment variable that names another place; may be empty
}

func (e *noHomeError) Error() string { return e.err.Error() + ": no home directory is known" }

func (e *noHomeError) Unwrap() error { return e.err }

// Hint says how to name one.
func (e *noHomeError) Hint() string {
	if e.variable == "" {
		return "set HOME"
	}
	return "set HOME or " + e.variable
}

// osUser returns the name of the user who runs the process, or "".
func (e *Env) osUser() string {
	if u := e.Getenv("USER"); u != "" {
		return u
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// debug reports whether TELEPORT_DEBUG is on. What is no truth value is off, so
// that no value breaks a command.
func (e *Env) debug() bool {
	on, _ := upgrade.ParseBool(e.Getenv("TELEPORT_DEBUG"))
	return on
}

// cacheFile returns the path of a file of ours that may be lost at any time,
// or "" if there is no place for one.
func (e *Env) cacheFile(name string) string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "tshx", name)
}
