package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tshx/internal/balancer"
	"tshx/internal/lab"
	"tshx/internal/profile"
	"tshx/internal/program"
	"tshx/internal/proxyserver"
)

type upCmd struct {
	Config string        `placeholder:"FILE" help:"Take cluster and backends from this YAML file. Default: built-in backends."`
	Dir    string        `placeholder:"DIR" help:"Write home directory and env file there. Default: a temporary directory, removed at the end."`
	Listen string        `placeholder:"HOST:PORT" help:"Listen there. Default: a free port on 127.0.0.1."`
	Behave string        `placeholder:"v14|v17" help:"Imitate this release of the proxy. Default: v17."`
	Layout string        `placeholder:"v14|v17" help:"Write the home directory as this release does. Default: as --behave."`
	TTL    time.Duration `name:"ttl" placeholder:"12h" default:"12h" help:"Lifetime of the certificates; negative for expired ones."`

	AgentDir []string `name:"agent-dir" sep:"none" placeholder:"DIR" help:"Write the identity of an agent there, for tshx-lab agent; may be repeated. Default, where an agent is to serve something: agent in the directory of --dir."`

	Proxied string `name:"proxy-protocol" placeholder:"on|off" help:"Demand a PROXY protocol header on each connection, as from a balancer, or refuse it. Default: take either."`
	balancerFlags
}

// balancerFlags put a balancer in front. Each of them implies --balancer.
type balancerFlags struct {
	Balancer      bool          `help:"Put a balancer in front that ends TLS and does not pass ALPN on."`
	Address       string        `name:"balancer-listen" placeholder:"HOST:PORT" help:"The balancer's address. Default: a free port on 127.0.0.1."`
	L4            bool          `name:"balancer-l4" help:"It works on layer 4: what is inside TLS passes unseen."`
	WebSocketOnly bool          `name:"balancer-websocket-only" help:"Only WebSocket upgrades pass; of others the header is dropped."`
	Refuse        int           `name:"balancer-refuse" placeholder:"STATUS" help:"Upgrades that do not pass are answered with this status, such as 403 or 400. Alone: all but WebSocket."`
	DropUpgrade   bool          `name:"balancer-drop-upgrade" help:"No upgrade passes: the Upgrade header is dropped, or with --balancer-refuse the request refused."`
	Idle          time.Duration `name:"balancer-idle" placeholder:"5s" help:"Connections that are silent for so long are cut."`
	UnaskedALPN   bool          `name:"balancer-unasked-alpn" help:"It selects http/1.1 even if that was not offered."`
	AlertALPN     bool          `name:"balancer-alert-alpn" help:"It knows http/1.1 only and answers other offers with an alert."`
	TwoForwarded  bool          `name:"balancer-two-forwarded-for" help:"It sends X-Forwarded-For twice, and the proxy looks at it."`
}

// Validate is called by kong.
func (c *upCmd) Validate() error {
	for flag, value := range map[string]string{"--behave": c.Behave, "--layout": c.Layout} {
		if value != "" && value != "v14" && value != "v17" {
			return fmt.Errorf("%s %q: use v14 or v17", flag, value)
		}
	}
	if p := proxyserver.ProxyProtocol(c.Proxied); !p.Valid() {
		return fmt.Errorf("--proxy-protocol %q: use on or off", c.Proxied)
	}
	return nil
}

// Run starts the lab, writes the files, says where they are and waits.
func (c *upCmd) Run(ctx context.Context, env *Env, cli *CLI) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	cfg.Log = cli.log(env)
	dir, remove, err := workDir(c.Dir)
	if err != nil {
		return err
	}
	defer remove()
	l, err := lab.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer l.Close()
	line, err := c.write(l, cfg, dir)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(env.Stdout, line); err != nil {
		return fmt.Errorf("write standard output: %w", err)
	}
	<-ctx.Done()
	return l.Close()
}

// config is the file's, or the built-in one, with the flags on top.
func (c *upCmd) config() (lab.Config, error) {
	cfg := lab.Demo()
	if c.Config != "" {
		var err error
		if cfg, err = lab.LoadConfig(c.Config); err != nil {
			return cfg, err
		}
	}
	if c.Listen != "" {
		cfg.Listen = c.Listen
	}
	if c.Behave != "" {
		cfg.Behave = c.Behave
	}
	if c.Proxied != "" {
		cfg.ProxyProtocol = proxyserver.ProxyProtocol(c.Proxied)
	}
	return cfg, c.balancerFlags.apply(&cfg)
}

func (f *balancerFlags) apply(cfg *lab.Config) error {
	if *f == (balancerFlags{}) {
		return nil
	}
	b := &lab.Balancer{Listen: f.Address, L4: f.L4, Refuse: f.Refuse, Idle: f.Idle, TwoForwardedFor: f.TwoForwarded}
	if cfg.Balancer != nil {
		return program.Usagef("the --balancer flags and the balancer in the configuration file exclude each other")
	}
	switch {
	case f.UnaskedALPN && f.AlertALPN:
		return program.Usagef("--balancer-unasked-alpn and --balancer-alert-alpn exclude each other")
	case f.Refuse != 0 && (f.Refuse < 400 || f.Refuse > 599):
		return program.Usagef("--balancer-refuse %d: use a status from 400 to 599", f.Refuse)
	case f.Idle < 0:
		return program.Usagef("--balancer-idle cannot be negative")
	case f.L4 && (f.WebSocketOnly || f.DropUpgrade || f.Refuse != 0 || f.TwoForwarded):
		return program.Usagef("--balancer-l4 sees no requests, so that nothing about them can be asked of it")
	}
	if f.UnaskedALPN {
		b.ALPN = balancer.ALPNUnasked
	}
	if f.AlertALPN {
		b.ALPN = balancer.ALPNAlert
	}
	switch {
	case f.DropUpgrade:
		b.Upgrades = balancer.UpgradesNone
	case f.WebSocketOnly, f.Refuse != 0:
		b.Upgrades = balancer.UpgradesWebSocket
	}
	cfg.Balancer = b
	cfg.TrustForwardedFor = cfg.TrustForwardedFor || f.TwoForwarded
	return nil
}

// workDir returns the directory to write to, and what removes it if it is only
// for this run.
func workDir(dir string) (string, func(), error) {
	if dir == "" {
		dir, err := os.MkdirTemp("", "tshx-lab-")
		return dir, func() { os.RemoveAll(dir) }, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", nil, err
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = os.MkdirAll(dir, 0o700)
	case err == nil && !info.IsDir():
		err = fmt.Errorf("--dir %s is not a directory", dir)
	}
	return dir, func() {}, err
}

// write writes homes and env files, and returns the one line that says where.
func (c *upCmd) write(l *lab.Lab, cfg lab.Config, dir string) (string, error) {
	w := writer{lab: l, dir: dir, options: c.home()}
	if err := l.WriteWebCA(w.ca()); err != nil {
		return "", err
	}
	env, err := w.login("home", "env", l.Addr)
	if err != nil {
		return "", err
	}
	line := fmt.Sprintf("ready: address=%s env=%s", l.Addr, env)
	if c.TTL >= 0 {
		line += " web=" + l.WebLink(l.Addr, w.options)
	}
	if l.BalancerAddr != "" {
		if env, err = w.login(balancerHome, "env-balancer", l.BalancerAddr); err != nil {
			return "", err
		}
		line += fmt.Sprintf(" balancer=%s balancer-env=%s", l.BalancerAddr, env)
	}
	agents := c.AgentDir
	if len(agents) == 0 && cfg.ByAgent() {
		agents = []string{filepath.Join(dir, "agent")}
	}
	for _, dir := range agents {
		if err := l.WriteAgent(dir, cmp.Or(l.BalancerAddr, l.Addr)); err != nil {
			return "", err
		}
		line += " agent=" + dir
	}
	for _, n := range cfg.Nodes {
		if n.Addr == "" && !n.Agent {
			continue
		}
		if _, err := l.WriteNodeFiles(filepath.Join(dir, "nodes", n.Name), n.Name); err != nil {
			return "", err
		}
	}
	return line, nil
}

func (c *upCmd) home() lab.HomeOptions {
	o := lab.HomeOptions{TTL: c.TTL}
	switch c.Layout {
	case "v14":
		o.Layout = profile.LayoutV13
	case "v17":
		o.Layout = profile.LayoutV17
	}
	return o
}

// writer writes logins below one directory.
type writer struct {
	lab     *lab.Lab
	dir     string
	options lab.HomeOptions
}

// caFile is the authority of the web certificate.
const caFile = "ca.pem"

// balancerHome is the home directory of a login through the balancer.
const balancerHome = "home-balancer"

func (w *writer) ca() string { return filepath.Join(w.dir, caFile) }

// kubeconfigFile in a home keeps logins of a lab out of the user's own. Nothing
// but "tshx kube login" writes it.
const kubeconfigFile = "kubeconfig"

// login writes a home directory and the file to source for it.
func (w *writer) login(home, env, addr string) (string, error) {
	home = filepath.Join(w.dir, home)
	if err := w.lab.WriteHome(home, addr, w.options); err != nil {
		return "", err
	}
	path := filepath.Join(w.dir, env)
	text := fmt.Sprintf("export TELEPORT_HOME=%s\nexport TSHX_CA_FILE=%s\nexport KUBECONFIG=%s\n",
		shellQuote(home), shellQuote(w.ca()), shellQuote(filepath.Join(home, kubeconfigFile)))
	return path, os.WriteFile(path, []byte(text), 0o600)
}

func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
