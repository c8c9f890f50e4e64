package reversetunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A real proxy answers none of an agent's global requests. That is no silence: the
// tunnel stands, also when nothing is said for long, and ends in order.
func TestRealProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.proxy.knows = false
		w.agent.Services[0].Dial = func(context.Context, DialRequest) (net.Conn, error) {
			near, far := memory()
			go func() { io.CopyN(far, far, 1); far.Close() }()
			return near, nil
		}
		up := make(chan string, 10)
		w.agent.Up = func(id string) { up <- id }
		w.run()
		tunnel := w.proxy.tunnel()
		if id := <-up; id != "proxy1" {
			t.Errorf("up at %q", id)
		}
		<-tunnel.pings
		time.Sleep(2 * HeartbeatInterval)
		s, err := tunnel.open(t.Context(), []byte(`{"address":"@local-node","conn_type":"node","server_id":"x"}`))
		must(t, err)
		io.WriteString(s, "x")
		if _, err := s.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		s.Close()
		if n := len(tunnel.pings); n < 1 || n > 2 {
			t.Errorf("%d heartbeats in two intervals", n)
		}
		began := time.Now()
		w.end()
		if took := time.Since(began); took > time.Second {
			t.Errorf("the end took %v", took)
		}
		if len(up) > 0 || len(w.proxy.tunnels) > 0 {
			t.Error("there was another tunnel")
		}
	})
}

// A real proxy says by the heartbeat channel that it does not want the agent.
func TestRealProxyRefuses(t *testing.T) {
	w := newWorld(t, echo)
	w.proxy.knows, w.proxy.rejects = false, "unsupported role\nNobody"
	var refused *RefusedError
	if err := w.agent.Run(t.Context()); !errors.As(err, &refused) || !strings.Contains(err.Error(), "unsupported role Nobody") {
		t.Errorf("ended with %v", err)
	}
}

// Real proxies call Kubernetes by an address of its own.
func TestRealProxyKube(t *testing.T) {
	w := newWorld(t, echo)
	w.proxy.knows = false
	kube := w.agent.Services[0]
	kube.Resource = Resource{Kind: KindKube, Name: "dev"}
	w.agent.Services = append(w.agent.Services, kube)
	w.run()
	defer w.end()
	tunnel := w.proxy.tunnel()
	s, err := tunnel.open(t.Context(), []byte(`{"address":"remote.kube.proxy.teleport.cluster.local","conn_type":"kube"}`))
	must(t, err)
	s.Close()
	if _, err := tunnel.open(t.Context(), []byte(`{"address":"remote.kube.proxy.teleport.cluster.local","conn_type":"node"}`)); err == nil {
		t.Error("a node by the address of Kubernetes")
	}
}
