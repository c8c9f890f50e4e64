package main

import (
	"net/url"
	"os"
	"runtime"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// variable is one of the environment of programs that use a local proxy for a
// cloud. One without a value is taken away: it would lead them elsewhere.
type variable struct{ Name, Value string }

// set returns those that have a value, as KEY=value.
func set(vars []variable) []string {
	var environ []string
	for _, v := range vars {
		if v.Value != "" {
			environ = append(environ, v.Name+"="+v.Value)
		}
	}
	return environ
}

// unsetOthers takes away those without a value from our own environment, which
// programs inherit.
func unsetOthers(vars []variable) {
	for _, v := range vars {
		if v.Value == "" {
			os.Unsetenv(v.Name)
		}
	}
}

// formatEnv are the formats that print variables.
const (
	formatUnix          = "unix"
	formatPowerShell    = "powershell"
	formatCommandPrompt = "command-prompt"
	formatText          = "text"
)

// shellFormat is the format for the shell that people have here.
func shellFormat() string {
	if runtime.GOOS == "windows" {
		return formatPowerShell
	}
	return formatUnix
}

// script writes variables for a shell, or as lines of KEY=value.
func script(format string, vars []variable) string {
	var b strings.Builder
	for _, v := range vars {
		line := ""
		switch {
		case format == formatText && v.Value != "":
			line = v.Name + "=" + v.Value
		case format == formatText:
			continue
		case v.Value != "" || format == formatCommandPrompt:
			line = setVariable(format, v.Name, v.Value)
		case format == formatPowerShell:
			line = "Remove-Item -ErrorAction Ignore Env:" + v.Name
		default:
			line = "unset " + v.Name
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// warnBypassed says where the user's own environment leads clients past a forward
// proxy, given a host of the cloud.
func warnBypassed(env *Env, host string) {
	for _, name := range []string{"no_proxy", "NO_PROXY"} {
		c := httpproxy.Config{HTTPSProxy: "http://set.invalid", NoProxy: env.Getenv(name)}
		if u, err := c.ProxyFunc()(&url.URL{Scheme: "https", Host: host}); u == nil && err == nil {
			warn(env, "%s has clients go past the local proxy to %s; take that out of it", name, host)
			return
		}
	}
}
