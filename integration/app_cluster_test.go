//go:build linux

package integration

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"tshx/integration/peer"
	"tshx/internal/lab"
)

// webdav is nginx as an application that keeps files.
var webdav = share(func() (*peer.WebDAV, error) {
	s, err := peer.StartWebDAV()
	if err == nil {
		atExit(s.Close)
	}
	return s, err
})

// Applications of the tests.
const (
	appWeb   = "web"   // appServer
	appFiles = "files" // nginx
	appDown  = "down"  // HTTP, and does not run

	appTCPWeb = "tcpweb" // appServer as a TCP application
	appEcho   = "echo"   // TCP, and answers
	appGreets = "greets" // TCP, and speaks first
)

// greeting is what greets says before it sends everything back.
const greeting = "220 you first? no, me\r\n"

var greets = newService(func(c *net.TCPConn) {
	io.WriteString(c, greeting)
	io.Copy(c, c)
})

// The clusters of the tests of applications: what modern and old are to others.
var (
	appModern = share(func() (*cluster, error) {
		return startAppCluster(lab.Config{Cluster: "apps.tshx.test", Behave: "v17"})
	})
	appOld = share(func() (*cluster, error) {
		return startAppCluster(lab.Config{Cluster: "oldapps.tshx.test", Behave: "v14"})
	})
)

// appTransports are the ways that must carry everything of an application.
var appTransports = []named{
	{"raw", "raw", share(way{cluster: appModern}.build)},
	{"websocket nginx", "websocket", share(way{cluster: appModern, front: peer.Balancer.Nginx}.build)},
	{"websocket haproxy", "websocket", share(way{cluster: appModern, front: peer.Balancer.HAProxyHTTP}.build)},
	{"legacy nginx", "legacy", share(way{cluster: appOld, front: peer.Balancer.Nginx}.build)},
	{"layer 4", "websocket", share(way{cluster: appModern, front: peer.Balancer.HAProxyTCP}.build)},
}

// startAppCluster starts a lab with HTTP and TCP applications and nothing else.
func startAppCluster(c lab.Config) (*cluster, error) {
	web, err := appServer.load()
	if err != nil {
		return nil, err
	}
	files := nobody // the tests that need nginx skip themselves
	if s, err := webdav.load(); err == nil {
		files = s.Addr
	}
	c.User = account.User
	c.Apps = []lab.App{
		{Name: appWeb, URI: "http://" + web.addr}, {Name: appFiles, URI: "http://" + files}, {Name: appDown, URI: "http://" + nobody},
		{Name: appTCPWeb, URI: "tcp://" + web.addr},
	}
	for name, shared := range map[string]*shared[*service]{appEcho: services["echo"], appGreets: greets} {
		s, err := shared.load()
		if err != nil {
			return nil, err
		}
		c.Apps = append(c.Apps, lab.App{Name: name, URI: "tcp://" + s.addr})
	}
	l, err := lab.Start(context.Background(), c)
	if err != nil {
		return nil, err
	}
	atExit(func() { l.Close() })
	cl := &cluster{lab: l, config: c, direct: loopback(l.Addr)}
	return cl, cl.writeCA()
}

// appClusterOf is the cluster that a transport leads to.
func appClusterOf(t testing.TB, tr *transport) *cluster {
	t.Helper()
	for _, c := range []*shared[*cluster]{appModern, appOld} {
		if c := c.get(t); c.config.Cluster == tr.cluster {
			return c
		}
	}
	t.Fatalf("no cluster %q", tr.cluster)
	return nil
}

// appLogin is a login of its own at addr for a test that changes it.
func appLogin(t testing.TB, addr string) *transport {
	t.Helper()
	tr, err := appModern.get(t).login(at("localhost", addr), lab.HomeOptions{})
	check(t, err)
	return tr
}

// appURL starts a proxy for an application, which must drain at the end of the
// test, and returns where it listens.
func (tr *transport) appURL(t testing.TB, args ...string) string {
	t.Helper()
	return "http://" + tr.start(t, append([]string{"proxy", "app"}, args...)...).lineAfter("address: ")
}

// noiseFile is a file of n bytes that lives as long as the run.
func noiseFile(n int64) *shared[string] {
	return share(func() (string, error) {
		dir, err := tempDir("noise")
		if err != nil {
			return "", err
		}
		path := filepath.Join(dir, "noise")
		f, err := os.Create(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		if _, err := sendNoise(f, n); err != nil {
			return "", err
		}
		return path, os.Chmod(dir, 0o755)
	})
}

// counted is a transport that counts the connections that it is used for.
func (tr *transport) counted(t testing.TB) (*transport, *atomic.Int64) {
	t.Helper()
	var made atomic.Int64
	board := newSwitchboard(t, loopback(tr.addr))
	front := serve(t, func(c *net.TCPConn) {
		made.Add(1)
		board.carry(c)
	})
	private, err := appClusterOf(t, tr).login(at("localhost", front), lab.HomeOptions{})
	check(t, err)
	return private, &made
}
