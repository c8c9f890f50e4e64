package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"tshx/internal/lab"
	"tshx/internal/program"
)

type agentCmd struct {
	Config   string `placeholder:"FILE" help:"Serve what this YAML file lists: nodes, databases, apps and kube, as in the lab's own, each with its address."`
	Identity string `placeholder:"DIR" help:"The agent's identity, as tshx-lab up --agent-dir has written it."`
	Proxy    string `placeholder:"HOST:PORT" help:"The proxy's address. Default: TELEPORT_TUNNEL_PUBLIC_ADDR, or the one in the identity."`
	CAFile   string `name:"ca-file" placeholder:"FILE" env:"TSHX_CA_FILE" help:"Trust these CAs (PEM) for the certificate in front of the proxy, besides the system's and the identity's."`
}

// Run serves until interrupted. What stands on standard error without -v is why
// there is no tunnel yet.
func (c *agentCmd) Run(ctx context.Context, env *Env, cli *CLI) error {
	switch {
	case c.Config == "":
		return program.Usagef("--config is missing: a YAML file that lists what to serve")
	case c.Identity == "":
		return program.Usagef("--identity is missing: a directory that tshx-lab up --agent-dir has written")
	}
	cfg, err := lab.LoadAgentConfig(c.Config)
	if err != nil {
		return err
	}
	id := &lab.AgentIdentity{Dir: c.Identity, Proxy: c.Proxy, CAFile: c.CAFile, Getenv: os.Getenv, Log: cli.log(env)}
	addr, err := id.Addr()
	if err != nil {
		return err
	}
	if _, err := id.WebCAs(); err != nil {
		return program.Usagef("--ca-file: %v", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var ready sync.Once
	var up atomic.Bool
	var unsaid error // of the ready line
	err = lab.RunAgent(ctx, lab.AgentOptions{
		Config: cfg, Identity: id, Log: cli.log(env),
		Up: func(proxyID string) {
			ready.Do(func() {
				up.Store(true)
				if _, err := fmt.Fprintf(env.Stdout, "ready: proxy=%s id=%s resources=%d\n", addr, proxyID, cfg.Len()); err != nil {
					unsaid = fmt.Errorf("write standard output: %w", err)
					cancel()
				}
			})
		},
		Retry: func(err error) {
			if !up.Load() && !cli.Verbose {
				fmt.Fprintf(env.Stderr, "tshx-lab: no tunnel yet, trying again: %s\n", program.Line(err))
			}
		},
	})
	return cmp.Or(err, unsaid)
}
