//go:build linux

package integration

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	crand "crypto/rand"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"tshx/integration/peer"
	"tshx/internal/lab"
)

// kubernetes is the API server of a run, with its node and one pod.
var kubernetes = share(func() (*peer.Kube, error) {
	dir, err := tempDir("kube")
	if err != nil {
		return nil, err
	}
	k, err := peer.Kubernetes(dir)
	if err == nil {
		atExit(k.Close)
	}
	return k, err
})

// Names of Kubernetes clusters. All of them are the same API server.
const (
	kubeDemo = "demo" // reached by the lab itself
	kubeDown = "down" // of which the API server does not run
)

// kubeMarks are clusters of which each tells its own name to who asks who he is.
// Some have names that are hard: longer than a label of DNS may be, or than the
// 31 bytes of which that has room in hexadecimal, or another's but for the case.
var kubeMarks = func() []string {
	names := []string{
		"more-than-thirty-one-bytes-of-a-name",
		strings.Repeat("more-than-sixty-three-bytes.", 4) + "of-a-name",
		"dots.in.it", "UPPER", "upper", "Mixed.Case_under-score", "0",
	}
	for n := range 20 - len(names) {
		names = append(names, fmt.Sprintf("plain-%d", n))
	}
	return names
}()

// The clusters of Kubernetes tests: what modern and old are to the others.
var (
	kubeModern = share(func() (*cluster, error) {
		return startKubeCluster(lab.Config{Cluster: "kube.tshx.test", Behave: "v17"})
	})
	kubeOld = share(func() (*cluster, error) {
		return startKubeCluster(lab.Config{Cluster: "oldkube.tshx.test", Behave: "v14"})
	})
)

// kubeTransports are the ways that must carry everything of Kubernetes.
var kubeTransports = []named{
	{"raw", "raw", share(way{cluster: kubeModern}.build)},
	{"websocket nginx", "websocket", share(way{cluster: kubeModern, front: peer.Balancer.Nginx}.build)},
	{"websocket haproxy", "websocket", share(way{cluster: kubeModern, front: peer.Balancer.HAProxyHTTP}.build)},
	{"legacy nginx", "legacy", share(way{cluster: kubeOld, front: peer.Balancer.Nginx}.build)},
	{"layer 4", "websocket", share(way{cluster: kubeModern, front: peer.Balancer.HAProxyTCP}.build)},
}

// startKubeCluster starts a lab with Kubernetes behind it and nothing else. Its
// users are alice, an administrator, who may become anybody.
func startKubeCluster(c lab.Config) (*cluster, error) {
	k, err := kubernetes.load()
	if err != nil {
		return nil, err
	}
	marks, err := kubeMarksConfig.load()
	if err != nil {
		return nil, err
	}
	c.User = account.User
	c.KubeUsers, c.KubeGroups = []string{"*"}, []string{"system:masters", "*"}
	c.Kube = []lab.Kube{{Name: kubeDemo, Kubeconfig: k.Kubeconfig}, {Name: kubeDown, Kubeconfig: marks, Context: kubeDown}}
	for _, name := range kubeMarks {
		c.Kube = append(c.Kube, lab.Kube{Name: name, Kubeconfig: marks, Context: name})
	}
	l, err := lab.Start(context.Background(), c)
	if err != nil {
		return nil, err
	}
	atExit(func() { l.Close() })
	cl := &cluster{lab: l, config: c, direct: loopback(l.Addr)}
	return cl, cl.writeCA()
}

// kubeMark is what the mark of a cluster is called at the API server.
const kubeMark = "cluster"

// kubeMarksConfig is the path of the kubeconfig of kubeMarks.
var kubeMarksConfig = share(func() (string, error) {
	k, err := kubernetes.load()
	if err != nil {
		return "", err
	}
	token := crand.Text()
	marker, err := newKubeMarker(k, token)
	if err != nil {
		return "", err
	}
	s := httptest.NewTLSServer(marker)
	atExit(s.Close)
	dir, err := tempDir("marks")
	if err != nil {
		return "", err
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600); err != nil {
		return "", err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Config\nusers:\n- {name: marker, user: {token: %q}}\ncontexts:\n", token)
	for _, name := range append(kubeMarks, kubeDown) {
		fmt.Fprintf(&b, "- {name: %q, context: {cluster: %q, user: marker}}\n", name, name)
	}
	fmt.Fprintf(&b, "clusters:\n- {name: %s, cluster: {server: %q}}\n", kubeDown, "https://"+nobody)
	for _, name := range kubeMarks {
		fmt.Fprintf(&b, "- {name: %q, cluster: {server: %q, certificate-authority: ca.pem}}\n", name, s.URL+"/"+name)
	}
	path := filepath.Join(dir, "marks.yaml")
	return path, os.WriteFile(path, b.Bytes(), 0o600)
})

// newKubeMarker makes a server that passes requests to the API server, and says
// of the user of each that it came by the cluster that the path begins with. It
// does so for who has the token: it acts as an administrator.
func newKubeMarker(k *peer.Kube, token string) (http.Handler, error) {
	config, err := clientcmd.BuildConfigFromFlags("", k.Kubeconfig)
	if err != nil {
		return nil, err
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, err
	}
	server, err := url.Parse(k.Server)
	if err != nil {
		return nil, err
	}
	pass := &httputil.ReverseProxy{Transport: transport, FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		name, _, _ := strings.Cut(strings.TrimPrefix(r.In.URL.Path, "/"), "/")
		r.Out.URL.Path = strings.TrimPrefix(r.In.URL.Path, "/"+name)
		r.Out.URL.RawPath = ""
		r.SetURL(server)
		r.Out.Header.Del("Authorization")
		r.Out.Header.Set("Impersonate-Extra-"+kubeMark, name)
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		pass.ServeHTTP(w, r)
	}), nil
}
