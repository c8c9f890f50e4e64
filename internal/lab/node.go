package lab

import (
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"tshx/internal/conn"
	"tshx/internal/proxyserver"
)

// sshTimeout bounds the SSH handshake with a node.
const sshTimeout = 10 * time.Second

// node is a small SSH server: shells, commands, sftp and local forwarding, for
// holders of a certificate of the cluster's user authority. Whatever the login,
// everything runs as the user that the lab runs as.
type node struct {
	config *ssh.ServerConfig
	log    *slog.Logger
}

func newNode(a *proxyserver.Authority, name string, log *slog.Logger) (*node, error) {
	key, err := a.SSHHostSigner("Node", name, name+"."+a.Cluster)
	if err != nil {
		return nil, err
	}
	cfg := &ssh.ServerConfig{
		ServerVersion:     "SSH-2.0-tshx-lab",
		PublicKeyCallback: a.UserChecker().Authenticate,
	}
	cfg.AddHostKey(key)
	return &node{config: cfg, log: log}, nil
}

func (n *node) serve(c net.Conn) {
	defer c.Close()
	bound := time.AfterFunc(sshTimeout, func() { c.Close() })
	sc, chans, reqs, err := ssh.NewServerConn(c, n.config)
	bound.Stop()
	if err != nil {
		n.log.Info("node refused a connection", "remote", c.RemoteAddr(), "err", err)
		return
	}
	go ssh.DiscardRequests(reqs)
	var wg sync.WaitGroup
	defer wg.Wait()
	for nc := range chans {
		switch nc.ChannelType() {
		case "session":
			ch, reqs, err := nc.Accept()
			if err != nil {
				continue
			}
			s := &session{ch: ch, user: sc.User(), gone: make(chan struct{})}
			wg.Go(func() { s.serve(reqs) })
		case "direct-tcpip":
			wg.Go(func() { forward(nc) })
		default:
			nc.Reject(ssh.UnknownChannelType, "sessions and direct-tcpip only")
		}
	}
}

// forward joins a direct-tcpip channel to its target (RFC 4254, section 7.2).
func forward(nc ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(nc.ExtraData(), &to); err != nil {
		nc.Reject(ssh.ConnectionFailed, "malformed target")
		return
	}
	c, err := net.DialTimeout("tcp", net.JoinHostPort(to.Host, strconv.FormatUint(uint64(to.Port), 10)), sshTimeout)
	if err != nil {
		nc.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer c.Close()
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	go ssh.DiscardRequests(reqs)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := io.Copy(c, ch); err != nil {
			c.Close()
		}
		conn.CloseWrite(c)
	})
	if _, err := io.Copy(ch, c); err != nil {
		c.Close()
		ch.Close()
	}
	ch.CloseWrite()
	wg.Wait()
}

// session is one session channel.
type session struct {
	ch   ssh.Channel
	user string
	gone chan struct{} // closed when the client has closed the channel

	env  []string
	term string // with a terminal
	size terminalSize
	pty  *os.File // of the running command

	mu sync.Mutex // guards pty and size
}

// terminalSize is what a window-change carries (RFC 4254, section 6.7).
type terminalSize struct{ Columns, Rows, Width, Height uint32 }

func (s *session) serve(reqs <-chan *ssh.Request) {
	var running sync.WaitGroup
	defer s.ch.Close()
	defer running.Wait()
	defer close(s.gone) // first, so that what runs ends
	started := false
	for r := range reqs {
		ok := false
		switch r.Type {
		case "env":
			ok = !started && s.setenv(r.Payload)
		case "pty-req":
			ok = !started && s.requestTerminal(r.Payload)
		case "window-change":
			ok = s.resize(r.Payload)
		case "shell", "exec", "subsystem":
			if run := s.command(r); run != nil && !started {
				started, ok = true, true
				// The answer goes first, so that it precedes all output.
				r.Reply(true, nil)
				running.Go(func() {
					exitWith(s.ch, run())
					s.ch.Close()
				})
				continue
			}
		}
		r.Reply(ok, nil)
	}
}

// command returns what a request is to run, nil if it is not understood.
func (s *session) command(r *ssh.Request) func() int {
	var p struct{ Text string }
	if r.Type != "shell" && ssh.Unmarshal(r.Payload, &p) != nil {
		return nil
	}
	switch {
	case r.Type == "shell":
		return func() int { return s.run("") }
	case r.Type == "exec":
		return func() int { return s.run(p.Text) }
	case p.Text == "sftp":
		return s.sftp
	}
	return nil
}

func (s *session) setenv(payload []byte) bool {
	var p struct{ Name, Value string }
	if ssh.Unmarshal(payload, &p) != nil || p.Name != "LANG" && !strings.HasPrefix(p.Name, "LC_") {
		return false // as an OpenSSH server with AcceptEnv LANG LC_*
	}
	s.env = append(s.env, p.Name+"="+p.Value)
	return true
}

func (s *session) requestTerminal(payload []byte) bool {
	var p struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	if !canTerminal || ssh.Unmarshal(payload, &p) != nil {
		return false
	}
	s.term, s.size = p.Term, terminalSize{p.Columns, p.Rows, p.Width, p.Height}
	return true
}

func (s *session) resize(payload []byte) bool {
	if len(payload) < 16 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	be := binary.BigEndian
	s.size = terminalSize{be.Uint32(payload), be.Uint32(payload[4:]), be.Uint32(payload[8:]), be.Uint32(payload[12:])}
	return s.pty == nil || setSize(s.pty, s.size) == nil
}

func exitWith(ch ssh.Channel, status int) {
	ch.CloseWrite()
	ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
}
