package proxyserver

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"slices"
	"sync"

	"golang.org/x/crypto/ssh"

	"tshx/internal/reversetunnel"
)

// ErrNoAgent refuses a resource that has no address, and that no connected agent
// serves.
var ErrNoAgent = errors.New("no agent that serves it is connected")

// agents are the reverse tunnels of the proxy (docs/protocol.md, "Reverse
// tunnels").
type agents struct {
	server *Server
	config *ssh.ServerConfig
	id     string // of this proxy

	mu      sync.Mutex
	tunnels []*agent
	peers   []string // IDs of the cluster's other proxies
	ending  bool     // the proxy goes away
}

// agent is one tunnel. Several may serve the same resource, and one agent may
// have several for a moment.
type agent struct {
	conn    *ssh.ServerConn
	wire    *reversetunnel.Wire
	hostID  string
	roles   string // those of its certificate
	streams reversetunnel.Streams
	news    chan struct{} // the list of proxies has changed

	// Held by agents.mu.
	serves  []reversetunnel.Resource
	leaving bool // asked to go elsewhere: the last to choose
}

func (s *Server) makeAgents() error {
	id := s.opts.ID
	if id == "" {
		id = NewHostID()
	}
	a := &agents{server: s, id: id, peers: s.opts.Peers}
	// The first name says who the proxy is.
	cluster := s.opts.Authority.Cluster
	names := append([]string{id + "." + cluster, id, s.publicHost(), cluster}, loopback...)
	host, err := s.opts.Authority.SSHHostSigner(reversetunnel.RoleProxy, names...)
	if err != nil {
		return err
	}
	a.config = &ssh.ServerConfig{ServerVersion: reversetunnel.Banner, PublicKeyCallback: a.authenticate}
	a.config.AddHostKey(host)
	s.agents = a
	return nil
}

// NewHostID makes up the UUID of a host (RFC 9562, section 5.4).
func NewHostID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// ID is what this proxy is called in discoveries.
func (s *Server) ID() string { return s.agents.id }

// SetPeers changes which other proxies agents are told to have tunnels to.
func (s *Server) SetPeers(ids []string) {
	a := s.agents
	a.mu.Lock()
	defer a.mu.Unlock()
	a.peers = slices.Clone(ids)
	for _, t := range a.tunnels {
		select {
		case t.news <- struct{}{}:
		default:
		}
	}
}

// DrainAgents asks all agents to make a new tunnel before each present one ends.
func (s *Server) DrainAgents() {
	for _, t := range s.agents.leave() {
		go t.conn.SendRequest(reversetunnel.RequestReconnect, false, nil)
	}
	s.letGo()
}

// end ends the tunnels of a proxy that goes away, each when it carries nothing any
// more.
func (a *agents) end() {
	a.mu.Lock()
	a.ending = true
	a.mu.Unlock()
	a.server.letGo()
	for _, t := range a.leave() {
		t.end()
	}
}

func (t *agent) end() { go t.streams.WhenIdle(func() { t.wire.Close() }) }

// leave makes all tunnels ones that are about to go, and lists them.
func (a *agents) leave() []*agent {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tunnels {
		t.leaving = true
	}
	return slices.Clone(a.tunnels)
}

func (a *agents) add(t *agent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tunnels = append(a.tunnels, t)
	if a.ending {
		t.end()
	}
}

func (a *agents) remove(t *agent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tunnels = slices.DeleteFunc(a.tunnels, func(o *agent) bool { return o == t })
}

// announced takes what the agent of t serves, as far as its certificate lets it.
func (a *agents) announced(t *agent, n reversetunnel.Announcement) error {
	for _, r := range n.Resources {
		if role := reversetunnel.Roles[r.Kind]; !reversetunnel.HasRole(t.roles, role) {
			return fmt.Errorf("its certificate is for %q, and a %s needs %q", t.roles, r.Kind, role)
		}
	}
	a.mu.Lock()
	t.serves = n.Resources
	a.mu.Unlock()
	if len(n.Resources) == 0 { // it waits for its streams before it leaves
		a.server.letGo()
	}
	return nil
}

// letGo ends the connections through agents that are kept for the next request.
func (s *Server) letGo() {
	var kept []*httpBackend
	for _, b := range s.apps {
		kept = append(kept, b)
	}
	if s.kube != nil {
		for _, b := range s.kube.backends {
			kept = append(kept, b.httpBackend)
		}
	}
	for _, b := range kept {
		if b.to.Addr == "" {
			b.close()
		}
	}
}

// candidates lists the tunnels to a resource in the order to try them: at random,
// but those that are about to go at the end.
func (a *agents) candidates(r resource) []*agent {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []*agent
	for _, t := range a.tunnels {
		if t.has(r) {
			list = append(list, t)
		}
	}
	mathrand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	slices.SortStableFunc(list, func(x, y *agent) int {
		return cmp.Compare(order(x.leaving), order(y.leaving))
	})
	return list
}

func order(last bool) int {
	if last {
		return 1
	}
	return 0
}

// has reports whether the agent serves a resource, by its own word or because
// the resource is known to be that host. a.mu is held.
func (t *agent) has(r resource) bool {
	if r.ID != "" && r.ID == t.hostID && reversetunnel.HasRole(t.roles, reversetunnel.Roles[r.Kind]) {
		return true
	}
	return slices.ContainsFunc(t.serves, func(o reversetunnel.Resource) bool { return o.Kind == r.Kind && o.Name == r.Name })
}

// Resource is what users may reach through the proxy.
type Resource struct {
	Kind       string // "node", "db", "app" or "kube"
	Name       string
	Protocol   string // of a database, and the scheme of an app's URI
	PublicAddr string // of an app
	// ByAgent says that the proxy has no address of it; Agents is how many tunnels
	// to it there are now.
	ByAgent bool
	Agents  int
}

// Resources lists what there is: all that Options lists, and nodes that agents
// serve without that.
func (s *Server) Resources() []Resource {
	var list []Resource
	for _, n := range s.nodes() {
		list = append(list, s.agents.entry(resource{Kind: kindNode, Name: n.Name, ID: n.ID, Addr: n.Addr}))
	}
	for _, d := range s.opts.Databases {
		e := s.agents.entry(d.resource(nil))
		e.Protocol = d.Protocol
		list = append(list, e)
	}
	for _, o := range s.opts.Apps {
		r, protocol := resource{Kind: kindApp, Name: o.Name, Addr: o.URI}, ""
		if u, err := url.Parse(o.URI); err == nil && o.AWS == nil {
			r.Addr, protocol = u.Host, u.Scheme
		}
		e := s.agents.entry(r)
		e.Protocol, e.PublicAddr = protocol, o.PublicAddr
		list = append(list, e)
	}
	for _, k := range s.opts.Kubes {
		list = append(list, s.agents.entry(resource{Kind: kindKube, Name: k.Name, Addr: k.Server}))
	}
	return list
}

func (a *agents) entry(r resource) Resource {
	e := Resource{Kind: r.Kind, Name: r.Name, ByAgent: r.Addr == ""}
	if e.ByAgent {
		e.Agents = len(a.candidates(r))
	}
	return e
}

// nodes lists the nodes of Options and those that agents serve besides.
func (s *Server) nodes() []Node {
	list := slices.Clone(s.opts.Nodes)
	s.agents.mu.Lock()
	defer s.agents.mu.Unlock()
	for _, t := range s.agents.tunnels {
		for _, r := range t.serves {
			if r.Kind == kindNode && !slices.ContainsFunc(list, func(n Node) bool { return n.Name == r.Name }) {
				list = append(list, Node{Name: r.Name})
			}
		}
	}
	return list
}

// dial opens a stream to a resource through one of the agents that serve it, the
// next where one fails.
func (a *agents) dial(ctx context.Context, r resource) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	err := error(ErrNoAgent)
	for _, t := range a.candidates(r) {
		var c net.Conn
		if c, err = a.open(ctx, t, r); err == nil {
			return c, nil
		}
		a.server.log.Debug("agent failed", "agent", t.hostID, "resource", r.Kind+" "+r.Name, "err", err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("%s %q: %w", r.Kind, r.Name, err)
}
