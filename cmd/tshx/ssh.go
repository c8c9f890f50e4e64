package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/alecthomas/kong"

	"tshx/internal/child"
	"tshx/internal/program"
)

type sshCmd struct {
	Args []string `arg:"" optional:"" name:"args" help:"[--cluster=NAME] and all that ssh takes: flags, [user@]node, command."`
}

// Run runs ssh, and ends with its exit code.
func (c *sshCmd) Run(ctx context.Context, env *Env, g *Globals, k *kong.Context) error {
	return g.openSSH(ctx, env, k, toolSSH, c.Args)
}

type scpCmd struct {
	Args []string `arg:"" optional:"" name:"args" help:"[--cluster=NAME] and all that scp takes: flags, files, [user@]node:file."`
}

// Run runs scp, and ends with its exit code.
func (c *scpCmd) Run(ctx context.Context, env *Env, g *Globals, k *kong.Context) error {
	return g.openSSH(ctx, env, k, toolSCP, c.Args)
}

type sftpCmd struct {
	Args []string `arg:"" optional:"" name:"args" help:"[--cluster=NAME] and all that sftp takes: flags, [user@]node[:path]."`
}

// Run runs sftp, and ends with its exit code.
func (c *sftpCmd) Run(ctx context.Context, env *Env, g *Globals, k *kong.Context) error {
	return g.openSSH(ctx, env, k, toolSFTP, c.Args)
}

// noOpenSSHError says that a program of OpenSSH is not installed.
type noOpenSSHError struct {
	error
}

func (e *noOpenSSHError) Unwrap() error { return e.error }

// Hint says how to get it.
func (*noOpenSSHError) Hint() string {
	return "install OpenSSH's client (package openssh-client or openssh)"
}

// envSSHDepth counts how many of us are around a program of OpenSSH.
const envSSHDepth = "TSHX_SSH_DEPTH"

// openSSH makes this process the tool, with a configuration in front of the
// user's own that leads to nodes of the cluster. Nothing stays of us: exit code,
// signals and the terminal are the tool's.
func (g *Globals) openSSH(ctx context.Context, env *Env, k *kong.Context, t sshTool, args []string) error {
	inv, err := t.read(args)
	if err != nil {
		return err
	}
	if inv.help {
		return k.PrintUsage(false)
	}
	path, err := exec.LookPath(t.name)
	if err != nil {
		return &noOpenSSHError{&child.NotFoundError{Program: t.name}}
	}
	if err := deeper(env, envSSHDepth, path, t.name); err != nil {
		return err
	}
	if inv.offline {
		return replaceBy(ctx, env, path, append([]string{path}, inv.args...))
	}
	files, err := inv.globals(g).sshFiles(env, inv, path)
	if err != nil {
		return err
	}
	defer files.remove()
	if program.Signalled(ctx) { // the tool has not heard of it
		return childExit(program.ExitInterrupted)
	}
	// Jumps start the same program by the name it was started by, with the same -F.
	args = append([]string{path, "-F", files.config}, inv.args...)
	env.Log.Debug("run OpenSSH", "path", path, "config", files.config)
	if files.dir == "" {
		return replaceBy(ctx, env, path, args)
	}
	code, err := runChild(ctx, env, child.Command{Args: args})
	env.EndBySIGINT = env.Interrupted // as the tool alone would
	if err != nil && ctx.Err() == nil {
		return err
	}
	return childExit(code)
}

// sshFiles checks the login and writes the configuration for a tool at path.
func (g *Globals) sshFiles(env *Env, inv sshInvocation, path string) (*sshFiles, error) {
	p, err := g.profile(env)
	if err != nil {
		return nil, err
	}
	p.Cluster = cmp.Or(inv.cluster, env.Getenv("TELEPORT_CLUSTER"), env.Getenv("TELEPORT_SITE"), p.Cluster)
	cert, _, err := p.SSHSigner()
	if err != nil && !inv.anyLogin {
		return nil, err
	}
	if info, err := os.Stat(p.IdentityFile); p.IdentityFile != "" && (err != nil || !info.Mode().IsRegular()) {
		return nil, &pipedIdentityError{p.IdentityFile}
	}
	c := sshConfig{Globals: g, Profile: p, cert: cert, login: env.Getenv("TELEPORT_LOGIN"), osUser: env.osUser()}
	if c.exe, err = os.Executable(); err != nil {
		return nil, fmt.Errorf("find this program's path: %w", err)
	}
	if c.hosts, err = p.HostKeyLines(); err != nil {
		return nil, err
	}
	if c.includes, err = includes(inv.config, path); err != nil {
		return nil, err
	}
	return c.write(env)
}
