package kubeproxy_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"tshx/internal/kubeproxy"
	"tshx/internal/localproxy"
	"tshx/internal/proxyserver"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// envOthers has TestOthers play everything but the local proxy.
const envOthers = "TSHX_TEST_OTHERS"

// login is what the others tell the local proxy, first of all.
type login struct {
	Addr      string // of the access proxy
	Web, Host []byte // CAs, DER
	Cert      []byte // DER
	Key       []byte // SEC 1
}

// clients is what they are told then: open so many watches.
type clients struct {
	Addr       string // of the local proxy
	Access     kubeproxy.Access
	URL        string
	ServerName string
	Watches    int
	HTTP1      bool
}

// TestOthers is the access proxy with an API server behind it, and the clients:
// what a benchmark does not want in its own memory. It answers each message on
// its standard input once the watches are open.
func TestOthers(t *testing.T) {
	if os.Getenv(envOthers) == "" {
		t.Skip("for a benchmark")
	}
	api := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.WriteString(rw, strings.Repeat("an object ", 500)+"\n")
		http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	}))
	defer api.Close()
	p, err := proxyserver.New(proxyserver.Options{Authority: authority(), PublicAddr: "proxy.example.com:443", Kubes: []proxyserver.Kube{{Name: "k", Server: api.URL}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ln := listen(t)
	go p.Serve(context.Background(), ln)
	cert := userCert(t)
	key, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	out := json.NewEncoder(os.Stdout)
	out.Encode(login{ln.Addr().String(), authority().Web.Certificate.Raw, authority().Host.Certificate.Raw, cert.Certificate[0], key})
	in := json.NewDecoder(os.Stdin)
	for {
		var c clients
		if in.Decode(&c) != nil {
			os.Exit(0) // with all of them
		}
		for range c.Watches {
			c.watch(t)
		}
		out.Encode("open")
	}
}

// watch is one program with one watch, which lasts as long as this process.
func (c clients) watch(t *testing.T) {
	pair, err := tls.X509KeyPair(c.Access.Cert, c.Access.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.Access.CA)
	tr := &http.Transport{
		Proxy:           http.ProxyURL(&url.URL{Scheme: "http", Host: c.Addr}),
		TLSClientConfig: &tls.Config{ServerName: c.ServerName, RootCAs: roots, Certificates: []tls.Certificate{pair}},
		Protocols:       new(http.Protocols),
	}
	tr.Protocols.SetHTTP1(c.HTTP1)
	tr.Protocols.SetHTTP2(!c.HTTP1)
	res, err := (&http.Client{Transport: tr}).Get(c.URL + "/api/v1/pods?watch=1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkWatch tells what a quiet watch costs the local proxy.
func BenchmarkWatch(b *testing.B) {
	for _, bb := range []struct {
		name string
		way  tlsroute.Way
	}{
		{"raw", tlsroute.Way{}},
		{"websocket", tlsroute.Way{Upgrade: true, Method: upgrade.WebSocket}},
		{"legacy", tlsroute.Way{Upgrade: true, Method: upgrade.Legacy}},
	} {
		b.Run(bb.name+"/h2", func(b *testing.B) { benchmarkWatch(b, bb.way, false) })
		b.Run(bb.name+"/http1", func(b *testing.B) { benchmarkWatch(b, bb.way, true) })
	}
}

func benchmarkWatch(b *testing.B, way tlsroute.Way, http1 bool) {
	const watches = 100
	tell, hear := others(b)
	var l login
	if err := hear.Decode(&l); err != nil {
		b.Fatal(err)
	}
	c := l.proxy(b, way)
	c.HTTP1 = http1
	open := func(n int) (heap, stack, resident uint64) {
		c.Watches = n
		tell.Encode(c)
		var said string
		if err := hear.Decode(&said); err != nil {
			b.Fatal(err)
		}
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc, m.StackInuse, residentNow(b)
	}
	heap, stack, resident := open(10) // so that what all have in common is there
	for b.Loop() {
		h, s, r := open(watches)
		each := func(before, after uint64) float64 { return float64(int64(after-before)) / watches / 1024 }
		b.ReportMetric(each(heap, h), "heap-KiB/watch")
		b.ReportMetric(each(stack, s), "stack-KiB/watch")
		b.ReportMetric(each(resident, r), "resident-KiB/watch")
		heap, stack, resident = h, s, r
	}
}

// others runs TestOthers in a process of its own, until the benchmark's end.
func others(b *testing.B) (tell *json.Encoder, hear *json.Decoder) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestOthers$")
	cmd.Env = append(os.Environ(), envOthers+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); cmd.Wait() })
	return json.NewEncoder(in), json.NewDecoder(out)
}

// proxy starts a local proxy with this login.
func (l login) proxy(b *testing.B, way tlsroute.Way) clients {
	pool := func(der []byte) *x509.CertPool {
		p := x509.NewCertPool()
		p.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		return p
	}
	key, err := x509.ParseECPrivateKey(l.Key)
	if err != nil {
		b.Fatal(err)
	}
	host := pool(l.Host)
	way.At = time.Now()
	p, err := kubeproxy.New(kubeproxy.Options{
		Clusters: []kubeproxy.Cluster{{
			Teleport: teleportCluster, Name: "k", Addr: "proxy.example.com",
			Route: kubeproxy.Route("k", "proxy.example.com:443", func() (*tls.Certificate, error) {
				return &tls.Certificate{Certificate: [][]byte{l.Cert}, PrivateKey: key}, nil
			}),
		}},
		Dialer: &tlsroute.Dialer{
			Finder:  &tlsroute.Finder{Target: upgrade.Target{Addr: l.Addr, Roots: pool(l.Web)}, Profile: &way},
			HostCAs: func() (*x509.CertPool, error) { return host, nil },
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	ln := listen(b)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan bool)
	go func() { defer close(ended); (&localproxy.Server{Handler: p}).Serve(ctx, ln) }()
	b.Cleanup(func() { cancel(); p.Close(); <-ended })
	return clients{Addr: ln.Addr().String(), Access: p.Access(), URL: p.URL(0), ServerName: p.ServerName(0)}
}

// residentNow is the memory that this process really takes, in bytes; 0 where
// that is not to be had.
func residentNow(b *testing.B) uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, err := strconv.ParseUint(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * uint64(os.Getpagesize())
}
