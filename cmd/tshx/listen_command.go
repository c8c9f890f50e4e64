package main

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"

	"tshx/internal/child"
	"tshx/internal/localproxy"
	"tshx/internal/program"
	"tshx/internal/ready"
)

// serveCommand serves for as long as a command runs, and ends with its exit
// code. Signals are the command's. ended is called when it has ended, before the
// drain.
func serveCommand(ctx context.Context, env *Env, server *localproxy.Server, ln net.Listener, cmd clientCommand, ended func()) error {
	serving, end := context.WithCancelCause(ctx)
	defer end(nil)
	running, kill := context.WithCancelCause(ctx)
	defer kill(nil)
	served := make(chan error, 1)
	server.Drain = commandDrain
	go func() {
		err := server.Serve(serving, ln)
		kill(err) // nothing to do if the command has ended before
		served <- err
	}()
	os.Unsetenv(ready.EnvNotify) // we have told the service manager what there is to tell
	code, err := runChild(running, env, child.Command{Args: cmd.args, Env: cmd.environ})
	ended()
	end(errCommandEnded)
	if serr := <-served; serr != nil {
		return serr
	}
	switch {
	case err == nil:
		return childExit(code)
	case program.Signalled(ctx) && code == 0: // it came before the command was there
		return childExit(program.ExitInterrupted)
	case ctx.Err() != nil:
		return childExit(code)
	}
	return err
}

// placeholders are what may be replaced in the arguments of a command. Nil has
// no value here.
func (a *announcement) placeholders() map[string]*string {
	port := (*string)(nil)
	if a.Port != nil {
		port = notEmpty(strconv.Itoa(*a.Port))
	}
	return map[string]*string{
		"{addr}": &a.Address, "{host}": a.Host, "{port}": port, "{socket}": a.Socket, "{url}": a.URL,
		"{user}": a.User, "{database}": a.Database,
		"{ca_file}": a.CAFile, "{cert_file}": a.CertFile, "{key_file}": a.KeyFile,
		"{kubeconfig}": a.Kubeconfig,
	}
}

// replace puts values in the place of the placeholders in args. One that has
// none is a usage error: the command would get something else than was meant.
func (a *announcement) replace(args []string) ([]string, error) {
	var pairs []string
	for name, value := range a.placeholders() {
		if value != nil {
			pairs = append(pairs, name, *value)
			continue
		}
		for _, arg := range args {
			if strings.Contains(arg, name) {
				return nil, program.Usagef("%s: there is none for %s %s at %s", name, a.Kind, a.Resource, a.Address)
			}
		}
	}
	r := strings.NewReplacer(pairs...)
	replaced := make([]string, len(args))
	for i, arg := range args {
		replaced[i] = r.Replace(arg)
	}
	return replaced, nil
}

// environment is what the command gets besides our own: the engine's variables
// and ours.
func (a *announcement) environment() []string {
	environ := append([]string{"TSHX_ADDR=" + a.Address}, a.Env...)
	for name, key := range map[string]string{"{host}": "TSHX_HOST", "{port}": "TSHX_PORT", "{socket}": "TSHX_SOCKET", "{url}": "TSHX_URL"} {
		if value := a.placeholders()[name]; value != nil {
			environ = append(environ, key+"="+*value)
		}
	}
	return environ
}
