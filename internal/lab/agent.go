package lab

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"tshx/internal/proxyserver"
	"tshx/internal/reversetunnel"
)

// backendTimeout bounds an agent's dial of a resource. It is shorter than the
// proxy's patience, so that the reason still arrives.
const backendTimeout = 10 * time.Second

// AgentConfig lists what an agent serves: the same as in Config, and each with
// its address, for nothing is built in here.
type AgentConfig struct {
	Nodes     []Node        `yaml:"nodes"`
	Databases []Database    `yaml:"databases"`
	Apps      []App         `yaml:"apps"`
	Kube      []Kube        `yaml:"kube"`
	Heartbeat time.Duration `yaml:"heartbeat_interval"` // zero: 5m
}

// LoadAgentConfig reads an AgentConfig from a YAML file, with errors like those of
// LoadConfig.
func LoadAgentConfig(path string) (AgentConfig, error) { return load(path, parseAgentConfig) }

func parseAgentConfig(b []byte) (AgentConfig, error) {
	var c AgentConfig
	if err := decode(b, &c); err != nil {
		return AgentConfig{}, err
	}
	return c, c.check()
}

// check reports the first mistake.
func (c *AgentConfig) check() error {
	all := Config{Nodes: c.Nodes, Databases: c.Databases, Apps: c.Apps, Kube: c.Kube}
	if err := all.checkAgents(true); err != nil {
		return err
	}
	if err := all.checkBackends(); err != nil {
		return err
	}
	switch {
	case c.Heartbeat < 0:
		return errors.New("heartbeat_interval: cannot be negative")
	case c.Len() == 0:
		return errors.New("nothing to serve: list nodes, databases, apps or kube")
	}
	return nil
}

// checkAgents looks whether who says where a resource is should: those of an agent
// have to give an address, those that an agent serves for the lab must not.
func (c *Config) checkAgents(agent bool) error {
	check := func(kind, name string, marked, placed bool) error {
		switch {
		case agent && marked:
			return fmt.Errorf("%s %q: \"agent\" belongs into the configuration of the lab", kind, name)
		case agent && !placed:
			return fmt.Errorf("%s %q: an agent needs to know where it is", kind, name)
		case marked && placed:
			return fmt.Errorf("%s %q: where it is belongs into the configuration of the agent", kind, name)
		}
		return nil
	}
	for _, n := range c.Nodes {
		if err := check("node", n.Name, n.Agent, n.Addr != ""); err != nil {
			return err
		}
	}
	for _, d := range c.Databases {
		if err := check("database", d.Name, d.Agent, d.Addr != ""); err != nil {
			return err
		}
	}
	for _, a := range c.Apps {
		if a.AWS != nil && (agent || a.Agent) {
			return fmt.Errorf("app %q: an AWS account is served by the proxy, not by an agent", a.Name)
		}
		u, err := url.Parse(a.URI)
		if err := check("app", a.Name, a.Agent, err == nil && u.Host != ""); err != nil {
			return err
		}
	}
	for _, k := range c.Kube {
		if err := check("kube", k.Name, k.Agent, k.Kubeconfig != ""); err != nil {
			return err
		}
	}
	return nil
}

// ByAgent reports whether some resource of the lab is served by an agent.
func (c *Config) ByAgent() bool {
	by := false
	for _, n := range c.Nodes {
		by = by || n.Agent
	}
	for _, d := range c.Databases {
		by = by || d.Agent
	}
	for _, a := range c.Apps {
		by = by || a.Agent
	}
	for _, k := range c.Kube {
		by = by || k.Agent
	}
	return by
}

// AgentOptions are those of an agent in this process.
type AgentOptions struct {
	Config   AgentConfig
	Identity *AgentIdentity
	Up       func(proxyID string) // see reversetunnel.Agent
	Retry    func(error)          // likewise
	Log      *slog.Logger
}

// RunAgent serves resources through the proxy until ctx ends; see
// reversetunnel.Agent.Run.
func RunAgent(ctx context.Context, o AgentOptions) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	services, stop, err := o.Config.services(o.Log)
	if err != nil {
		return err
	}
	defer stop()
	a := &reversetunnel.Agent{
		Dial: o.Identity.Dial, Identity: o.Identity.Load, Services: services,
		Heartbeat: o.Config.Heartbeat, Up: o.Up, Retry: o.Retry, Log: o.Log,
	}
	return a.Run(ctx)
}

// Len is how many resources there are.
func (c *AgentConfig) Len() int { return len(c.Nodes) + len(c.Databases) + len(c.Apps) + len(c.Kube) }

// services lists what there is with the way to it, and what ends it.
func (c *AgentConfig) services(log *slog.Logger) ([]reversetunnel.Service, func(), error) {
	var list []reversetunnel.Service
	var closers []func()
	stop := func() {
		for _, f := range closers {
			f()
		}
	}
	add := func(kind, name, protocol string, dial func(context.Context) (net.Conn, error)) {
		list = append(list, reversetunnel.Service{
			Resource: reversetunnel.Resource{Kind: kind, Name: name, Protocol: protocol},
			Dial: func(ctx context.Context, _ reversetunnel.DialRequest) (net.Conn, error) {
				ctx, cancel := context.WithTimeout(ctx, backendTimeout)
				defer cancel()
				return dial(ctx)
			},
		})
	}
	for _, n := range c.Nodes {
		add(reversetunnel.KindNode, n.Name, "", dialAddr(n.Addr))
	}
	for _, d := range c.Databases {
		add(reversetunnel.KindDB, d.Name, d.Protocol, dialAddr(d.Addr))
	}
	for _, a := range c.Apps {
		u, err := url.Parse(a.URI)
		if err != nil {
			return nil, stop, err
		}
		add(reversetunnel.KindApp, a.Name, strings.TrimSuffix(u.Scheme, "s"), dialURL(u))
	}
	for _, k := range c.Kube {
		kube, err := k.backend()
		if err != nil {
			return nil, stop, err
		}
		h, err := proxyserver.NewKubeAgent(kube, log)
		if err != nil {
			return nil, stop, err
		}
		closers = append(closers, h.Close)
		list = append(list, reversetunnel.Service{
			Resource: reversetunnel.Resource{Kind: reversetunnel.KindKube, Name: k.Name},
			Serve:    h.ServeConn,
		})
	}
	return list, stop, nil
}

// dialAddr dials host:port or unix:/path.
func dialAddr(addr string) func(context.Context) (net.Conn, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}

// dialURL dials an app. Of one that speaks https the agent does the TLS, by the
// authorities of its system: the proxy takes it for http.
func dialURL(u *url.URL) func(context.Context) (net.Conn, error) {
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	addr := net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
	if u.Scheme != "https" {
		return dialAddr(addr)
	}
	return func(ctx context.Context) (net.Conn, error) {
		d := tls.Dialer{Config: &tls.Config{NextProtos: []string{"http/1.1"}}}
		return d.DialContext(ctx, "tcp", addr)
	}
}
