package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"tshx/internal/lab"
	"tshx/internal/program"
)

// demoTimeout bounds the whole demonstration.
const demoTimeout = 60 * time.Second

type demoCmd struct {
	Tshx string `placeholder:"PATH" default:"tshx" help:"The tshx to show. Default: beside this program, else in PATH."`
}

// Run starts a lab with a balancer and shows each service both ways.
func (c *demoCmd) Run(ctx context.Context, env *Env, cli *CLI) error {
	tshx, err := findTshx(c.Tshx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	dir, remove, err := workDir("")
	if err != nil {
		return err
	}
	defer remove()

	began := time.Now()
	amazon, err := startStandIn()
	if err != nil {
		return err
	}
	defer amazon.Close()
	cfg := lab.Demo()
	cfg.Apps = append(cfg.Apps, amazon.app(), lab.App{Name: hiddenApp, URI: "tcp://", Agent: true})
	cfg.Balancer = &lab.Balancer{}
	cfg.Log = cli.log(env)
	l, err := lab.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer l.Close()
	d := &demo{env: env, lab: l, tshx: tshx, dir: dir, log: cfg.Log}
	if err := l.WriteAgent(d.agentDir(), l.Addr); err != nil {
		return err
	}
	d.say("A proxy at %s, a balancer in front of it at %s, and behind them an SSH node, a Redis, a TCP echo,", l.Addr, l.BalancerAddr)
	d.say("a web page, a Kubernetes API and an AWS account, all in this process; started in %s.", took(began))
	d.way(ctx, "home", l.Addr, "Directly: tshx speaks TLS to the proxy and names the service by ALPN.")
	d.way(ctx, "home-balancer", l.BalancerAddr, "Through a balancer that ends TLS: tshx tunnels through a WebSocket upgrade.")
	switch {
	case interrupted(ctx):
		return errors.New("interrupted")
	case d.failed > 0:
		d.say("\n%d of %d steps failed.", d.failed, d.steps)
		return errShown
	}
	d.say("\nAll %d steps worked, in %s. To look around, also with a browser: tshx-lab up --balancer", d.steps, took(began))
	return nil
}

// findTshx prefers a tshx beside this program to one in PATH.
func findTshx(name string) (string, error) {
	if name == "tshx" {
		if self, err := os.Executable(); err == nil {
			beside := filepath.Join(filepath.Dir(self), "tshx")
			if path, err := exec.LookPath(beside); err == nil {
				return path, nil
			}
		}
	}
	path, err := exec.LookPath(name)
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return "", program.Usagef("--tshx: %v", err)
	}
	return filepath.Abs(path)
}

// demo shows one lab.
type demo struct {
	env  *Env
	lab  *lab.Lab
	tshx string
	dir  string
	log  *slog.Logger // of agents

	addr          string   // of the current way
	vars          []string // of the current way, for tshx and clients
	steps, failed int
}

func (d *demo) say(format string, a ...any) { fmt.Fprintf(d.env.Stdout, format+"\n", a...) }

// way shows all services by one address.
func (d *demo) way(ctx context.Context, home, addr, title string) {
	if interrupted(ctx) {
		return
	}
	d.say("\n%s", title)
	if err := d.login(home, addr); err != nil {
		d.failed++
		d.say("  FAILED to write the login: %v", err)
		return
	}
	d.step(ctx, "upgrade", d.upgradeTest)
	d.step(ctx, "ssh", d.ssh)
	d.step(ctx, "redis", d.redis)
	d.step(ctx, "tcp", d.tcp)
	d.step(ctx, "http", d.http)
	d.step(ctx, "kube", d.kube)
	d.step(ctx, "aws", d.aws)
	d.step(ctx, "agent", d.agent)
	d.installed(ctx)
}

// installed shows the clients that this machine has.
func (d *demo) installed(ctx context.Context) {
	if path, err := exec.LookPath("ssh"); err == nil {
		d.step(ctx, "OpenSSH", func(ctx context.Context) (string, error) { return d.openSSH(ctx, path) })
		d.step(ctx, "tshx ssh", d.tshxSSH)
	}
	if _, err := exec.LookPath("scp"); err == nil {
		d.step(ctx, "tshx scp", d.tshxSCP)
	}
	if path, err := exec.LookPath("redis-cli"); err == nil {
		d.step(ctx, "redis-cli", func(ctx context.Context) (string, error) { return d.redisCLI(ctx, path) })
	}
	if _, err := exec.LookPath("kubectl"); err == nil {
		d.step(ctx, "kubectl", d.kubectl)
	}
}

func (d *demo) agentDir() string { return filepath.Join(d.dir, "agent") }

// login writes a login for an address, for all that comes.
func (d *demo) login(home, addr string) error {
	w := writer{lab: d.lab, dir: d.dir}
	d.addr = addr
	d.vars = []string{
		"TELEPORT_HOME=" + filepath.Join(d.dir, home),
		"TSHX_CA_FILE=" + w.ca(),
		"KUBECONFIG=" + filepath.Join(d.dir, home, kubeconfigFile),
		"XDG_CACHE_HOME=" + filepath.Join(d.dir, "cache"),
	}
	_, err := w.login(home, home+".env", addr)
	return errors.Join(err, d.lab.WriteWebCA(w.ca()))
}

// interrupted reports whether the user has seen enough. The end of demoTimeout is
// a failure.
func interrupted(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// step runs one part and prints what it has to say.
func (d *demo) step(ctx context.Context, name string, run func(context.Context) (string, error)) {
	if interrupted(ctx) {
		return
	}
	d.steps++
	began := time.Now()
	text, err := run(ctx)
	if err != nil {
		if interrupted(ctx) {
			return
		}
		d.failed++
		d.say("  %-10s FAILED after %s: %v", name, took(began), err)
		return
	}
	d.say("  %-10s %7s  %s", name, took(began), text)
}

// took is the time since began for people.
func took(began time.Time) string {
	return time.Since(began).Round(time.Millisecond).String()
}
