package proxyserver

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"tshx/internal/reversetunnel"
	"tshx/internal/tlsroute"
)

// Of several agents any is chosen, so that each gets its part, and one that is about
// to go only where there is no other: what is begun there would be cut.
func TestAgentLeavingIsLast(t *testing.T) {
	cache := reversetunnel.Resource{Kind: kindDB, Name: "cache"}
	serves := []reversetunnel.Resource{cache}
	a := &agents{tunnels: []*agent{
		{hostID: "leaves", serves: serves, leaving: true}, {hostID: "one", serves: serves}, {hostID: "two", serves: serves}, {hostID: "other"},
	}}
	first := map[string]int{}
	for range 100 {
		list := a.candidates(resource{Kind: kindDB, Name: "cache"})
		if len(list) != 3 || list[2].hostID != "leaves" {
			t.Fatalf("%d agents, the last is %s", len(list), list[len(list)-1].hostID)
		}
		first[list[0].hostID]++
	}
	if first["one"] == 0 || first["two"] == 0 {
		t.Errorf("always the same one: %v", first)
	}
	if list := a.candidates(resource{Kind: kindApp, Name: "cache"}); len(list) != 0 {
		t.Errorf("%d agents serve an app that has the name of a database", len(list))
	}
}

// A node that is known by its ID is reached through the agent of that host, as far as
// its certificate is one of a node.
func TestAgentByHostID(t *testing.T) {
	a := &agents{tunnels: []*agent{{hostID: "id1", roles: "Node"}, {hostID: "id2", roles: "App"}}}
	for id, want := range map[string]int{"id1": 1, "id2": 0, "id3": 0, "": 0} {
		if got := len(a.candidates(resource{Kind: kindNode, Name: "n", ID: id})); got != want {
			t.Errorf("%q: %d agents", id, got)
		}
	}
}

// Why an agent could not connect is known where users and administrators look.
func TestAgentReason(t *testing.T) {
	f := start(t, Options{Databases: []Database{{Name: "cache", Protocol: "redis"}}})
	agentOf(t, f, "host1", nil, reversetunnel.Resource{Kind: kindDB, Name: "cache"})
	_, err := f.agents.dial(t.Context(), resource{Kind: kindDB, Name: "cache"})
	if err == nil || !strings.Contains(err.Error(), "nobody there") {
		t.Errorf("%v", err)
	}
}

// The certificate of an agent has its time.
func TestAgentCertificateTime(t *testing.T) {
	f := start(t, Options{})
	a := testAuthority()
	now := time.Now()
	for _, tt := range []struct {
		name         string
		after, until time.Time
		ok           bool
	}{
		{"valid", now.Add(-time.Hour), now.Add(time.Hour), true},
		{"expired", now.Add(-2 * time.Hour), now.Add(-time.Hour), false},
		{"not yet valid", now.Add(time.Hour), now.Add(2 * time.Hour), false},
	} {
		key, cert, err := a.SSHHostKey("Node", "h")
		if err != nil {
			t.Fatal(err)
		}
		cert.ValidAfter, cert.ValidBefore = uint64(tt.after.Unix()), uint64(tt.until.Unix())
		if err := cert.SignCert(rand.Reader, a.SSHHost); err != nil {
			t.Fatal(err)
		}
		own, err := ssh.NewSignerFromSigner(key)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := ssh.NewCertSigner(cert, own)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := f.sshAgent("h", signer); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// Who comes to the port of agents and does no SSH is sent away.
func TestAgentPortBounded(t *testing.T) {
	s, err := New(Options{Authority: testAuthority()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		go io.Copy(io.Discard, client)
		began := time.Now()
		s.serveAgent(context.Background(), server, tlsroute.Info{Client: &net.TCPAddr{}})
		if took := time.Since(began); took != sshTimeout {
			t.Errorf("sent away after %v", took)
		}
	})
}

// muteAgent is one that opens channels and answers nothing on them.
type muteAgent struct {
	ssh.Conn
	channel *muteChannel
}

func (a muteAgent) OpenChannel(string, []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	reqs := make(chan *ssh.Request)
	close(reqs)
	return a.channel, reqs, nil
}

type muteChannel struct {
	ssh.Channel
	once   sync.Once
	closed chan struct{}
}

func (c *muteChannel) SendRequest(string, bool, []byte) (bool, error) {
	<-c.closed
	return false, io.EOF
}

func (c *muteChannel) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// An agent that does not answer costs its client the time of a dial and no more.
func TestAgentMute(t *testing.T) {
	s, err := New(Options{Authority: testAuthority()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		mute := muteAgent{channel: &muteChannel{closed: make(chan struct{})}}
		defer mute.channel.Close() // only where it does not end
		only := &agent{conn: &ssh.ServerConn{Conn: mute}, wire: reversetunnel.NewWire(near), serves: []reversetunnel.Resource{{Kind: kindDB, Name: "cache"}}}
		s.agents.tunnels = []*agent{only}
		defer func() { s.agents.tunnels = nil }()
		began := time.Now()
		_, err := s.agents.dial(t.Context(), resource{Kind: kindDB, Name: "cache"})
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != dialTimeout || only.streams.Len() != 0 {
			t.Errorf("%v after %v, %d streams", err, took, only.streams.Len())
		}
	})
}
