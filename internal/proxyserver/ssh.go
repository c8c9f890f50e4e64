package proxyserver

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"tshx/internal/conn"
	"tshx/internal/tlsroute"
)

// sshTimeout bounds the SSH handshake.
const sshTimeout = 10 * time.Second

// Names of the SSH front (docs/protocol.md, "SSH").
const (
	requestAgent     = "auth-agent-req@openssh.com"
	requestDetails   = "cluster-details@goteleport.com"
	subsystemProxies = "proxysites"
)

func (s *Server) makeSSH() error {
	a := s.opts.Authority
	host, err := a.SSHHostSigner("Proxy", append([]string{s.publicHost(), a.Cluster}, loopback...)...)
	if err != nil {
		return err
	}
	checker := a.UserChecker()
	s.ssh = &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-Teleport",
		PublicKeyCallback: func(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if _, ok := key.(*ssh.Certificate); !ok {
				return nil, fmt.Errorf("user %q: a plain key, not a certificate", m.User())
			}
			return checker.Authenticate(m, key)
		},
	}
	s.ssh.AddHostKey(host)
	return nil
}

// serveSSH is the proxy's own SSH server: it opens ways to nodes and runs
// nothing itself.
//
// The context of the connection is left aside: it ends together with the
// client, when bytes that the client has sent may still be on the way to a
// node. A session notices that end by its channel; the server's own context
// ends it at once.
func (s *Server) serveSSH(_ context.Context, c net.Conn, info tlsroute.Info) {
	defer c.Close()
	bound := time.AfterFunc(sshTimeout, func() { c.Close() })
	sc, chans, reqs, err := ssh.NewServerConn(c, s.ssh)
	if !bound.Stop() && err == nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		s.refused("ssh", info.Client, fmt.Errorf("ssh handshake: %w", err))
		return
	}
	defer sc.Close()
	go serveGlobal(reqs)
	var sessions sync.WaitGroup
	for nc := range chans {
		if nc.ChannelType() != "session" {
			nc.Reject(ssh.UnknownChannelType, "the proxy knows session channels only")
			continue
		}
		ch, reqs, err := nc.Accept()
		if err != nil {
			continue // the connection is gone, and chans ends
		}
		sessions.Go(func() { s.serveSession(s.ctx, sc, ch, reqs, info.Client) })
	}
	sessions.Wait()
}

// serveGlobal answers requests that concern the whole connection.
func serveGlobal(reqs <-chan *ssh.Request) {
	for r := range reqs {
		switch {
		case r.Type == requestDetails:
			r.Reply(true, ssh.Marshal(struct{ Recording, FIPS bool }{}))
		case r.WantReply:
			r.Reply(false, nil)
		}
	}
}

// serveSession handles the requests of a session channel until one starts a
// subsystem, and closes the channel when that one ends.
func (s *Server) serveSession(ctx context.Context, sc ssh.ConnMetadata, ch ssh.Channel, reqs <-chan *ssh.Request, client net.Addr) {
	defer ch.Close()
	for r := range reqs {
		switch r.Type {
		case "subsystem":
			go ssh.DiscardRequests(reqs)
			s.serveSubsystem(ctx, sc, ch, r, client)
			return
		case requestAgent, "env":
			r.Reply(true, nil)
		case "shell", "exec":
			fail(ch, r, "this is the access proxy, not a node: use it as a jump to one")
			go ssh.DiscardRequests(reqs)
			return
		default:
			r.Reply(false, nil)
		}
	}
}

func (s *Server) serveSubsystem(ctx context.Context, sc ssh.ConnMetadata, ch ssh.Channel, r *ssh.Request, client net.Addr) {
	var p struct{ Name string }
	if err := ssh.Unmarshal(r.Payload, &p); err != nil {
		fail(ch, r, "malformed subsystem request")
		return
	}
	if p.Name == subsystemProxies {
		r.Reply(true, nil)
		s.listClusters(ch)
		return
	}
	target, err := parseTarget(p.Name)
	if err != nil {
		fail(ch, r, err.Error())
		s.refused("ssh", client, err)
		return
	}
	node, err := s.node(target)
	var nc net.Conn
	if err == nil {
		if nc, err = s.dial(ctx, resource{Kind: kindNode, Name: node.Name, ID: node.ID, Addr: node.Addr, Client: client}); err != nil {
			err = fmt.Errorf("node %q cannot be reached: %w", node.Name, err)
		}
	}
	if err != nil {
		fail(ch, r, err.Error())
		s.refused("ssh "+target.Host, client, err)
		return
	}
	r.Reply(true, nil)
	st, err := conn.Splice(ctx, &channelConn{bareChannel{ch, sc}}, nc)
	s.finished("ssh "+sc.User()+"@"+node.Name, client, st, err)
}

// listClusters answers the proxysites subsystem.
func (s *Server) listClusters(ch ssh.Channel) {
	type site struct {
		Name          string    `json:"name"`
		LastConnected time.Time `json:"lastconnected"`
		Status        string    `json:"status"`
	}
	json.NewEncoder(ch).Encode([]site{{s.opts.Authority.Cluster, time.Now().UTC(), "online"}})
	exit(ch, 0)
}

// fail refuses a request with a sentence for the user.
func fail(ch ssh.Channel, r *ssh.Request, message string) {
	io.WriteString(ch.Stderr(), "ERROR: "+message+"\r\n")
	r.Reply(false, nil)
	exit(ch, 1)
}

func exit(ch ssh.Channel, status uint32) {
	ch.CloseWrite()
	ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
}

// node finds the node that a target means. A port that fits decides between
// nodes of the same name; otherwise it is not looked at, as with nodes that
// are connected by a reverse tunnel and have no address of their own.
func (s *Server) node(t target) (Node, error) {
	cluster := s.opts.Authority.Cluster
	if cmp.Or(t.Cluster, cluster) != cluster {
		return Node{}, fmt.Errorf("cluster %q is not known to this proxy", t.Cluster)
	}
	var found []Node
	for _, n := range s.nodes() {
		if n.Addr == net.JoinHostPort(t.Host, t.Port) {
			return n, nil
		}
		if t.Host == n.Name || t.Host == n.Name+"."+cluster || t.Host == n.ID && n.ID != "" {
			found = append(found, n)
		}
	}
	for _, n := range found {
		if _, port, err := net.SplitHostPort(n.Addr); err == nil && port == t.Port {
			return n, nil
		}
	}
	switch len(found) {
	case 0:
		return Node{}, fmt.Errorf("%w: %q in cluster %q", ErrUnknownNode, t.Host, cluster)
	case 1:
		return found[0], nil
	}
	return Node{}, fmt.Errorf("%d nodes are called %q: give the port or the id of one", len(found), t.Host)
}
