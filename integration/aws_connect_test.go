//go:build linux

package integration

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/gorilla/websocket"

	"tshx/internal/conn"
)

// foreign is a TLS server that is not Amazon's: of the given names, with a
// certificate of the cluster's web authority.
func foreign(t testing.TB, names ...string) *httptest.Server {
	t.Helper()
	cert, err := awsModern.get(t).lab.Authority.WebCertificate(names...)
	check(t, err)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if websocket.IsWebSocketUpgrade(r) {
			serveEchoSocket(w, r)
			return
		}
		w.Write([]byte("foreign"))
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// TestAWSForeign: what is not Amazon's goes directly, or through the system's
// proxy, and is not looked into.
func TestAWSForeign(t *testing.T) {
	need(t, "curl")
	nothingLeft(t)
	tr := awsTransports[0].get(t)
	get := func(t *testing.T, p *awsProxy, url string) *program {
		c := launch(t, options{env: p.environ()}, "curl", "-sS", "--noproxy", "", "--cacert", tr.caFile, url)
		c.wait()
		return c
	}
	t.Run("direct", func(t *testing.T) {
		s := foreign(t, "localhost")
		p := startAWSProxy(t, tr, "--app", awsMain)
		if c := get(t, p, "https://localhost:"+portOfURL(s.URL)+"/"); c.stdout.String() != "foreign" {
			t.Errorf("%q, %s", c.stdout.String(), c.stderr.String())
		}
		_, port, _ := net.SplitHostPort(nobody)
		if c := get(t, p, "https://localhost:"+port+"/"); c.cmd.ProcessState.ExitCode() == 0 || !strings.Contains(c.stderr.String(), "50") {
			t.Errorf("to nobody: %q, %s", c.stdout.String(), c.stderr.String())
		}
		// Forwarding plain HTTP is not what it is for.
		plain := launch(t, options{}, "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--proxy", p.env["HTTPS_PROXY"], "http://localhost/")
		if plain.wait(); plain.stdout.String() == "200" || plain.stdout.String() == "000" {
			t.Errorf("plain http: %s", plain.stdout.String())
		}
	})
	t.Run("squid", func(t *testing.T) {
		sq, err := squid.load()
		check(t, err)
		s := foreign(t, squidName)
		way := *tr
		way.env = append(way.env, "HTTPS_PROXY=http://"+sq.Addr)
		p := startAWSProxy(t, &way, "--app", awsMain)
		if c := get(t, p, "https://"+squidName+":"+portOfURL(s.URL)+"/"); c.stdout.String() != "foreign" {
			t.Errorf("%q, %s", c.stdout.String(), c.stderr.String())
		}
		if got := whoAmI(t, p.sts(t, p.credentials())); got != awsARN[awsMain] {
			t.Errorf("we are %q", got)
		}
	})
}

func portOfURL(s string) string {
	u, _ := url.Parse(s)
	return u.Port()
}

// tunnels is a forward proxy that leads everywhere to one server, and keeps what
// it was asked for.
type tunnels struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
}

func startTunnels(t testing.TB, to string) *tunnels {
	s := &tunnels{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.Method+" "+r.Host)
		s.mu.Unlock()
		up, err := net.Dial("tcp", to)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			up.Close()
			return
		}
		c.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
		conn.Splice(t.Context(), c, up)
	}))
	t.Cleanup(s.Close)
	return s
}

// TestAWSSessionManager: the stream of Session Manager is Amazon's, but passes: it
// is not signed, and its client trusts none of our certificates.
func TestAWSSessionManager(t *testing.T) {
	nothingLeft(t)
	tr := *awsTransports[0].get(t)
	const host = "ssmmessages.us-east-1.amazonaws.com"
	s := foreign(t, host)
	via := startTunnels(t, s.Listener.Addr().String())
	tr.env = append(tr.env, "HTTPS_PROXY="+via.URL)
	p := startAWSProxy(t, &tr, "--app", awsMain)
	cas := x509.NewCertPool()
	pem, err := os.ReadFile(tr.caFile)
	check(t, err)
	cas.AppendCertsFromPEM(pem)
	echoes(t, websocket.Dialer{Proxy: p.transport(t).Proxy, TLSClientConfig: &tls.Config{RootCAs: cas}}, "wss://"+host+"/v1/data-channel/alice")
	via.mu.Lock()
	defer via.mu.Unlock()
	if len(via.asked) != 1 || via.asked[0] != "CONNECT "+host+":443" {
		t.Errorf("the system's proxy was asked for %q", via.asked)
	}
}

// TestAWSWebSocket: one of a service, signed in its URL as the SDKs do it.
func TestAWSWebSocket(t *testing.T) {
	for _, tt := range awsTransports {
		t.Run(tt.name, func(t *testing.T) {
			nothingLeft(t)
			p := startAWSProxy(t, tt.get(t), "--app", awsMain)
			keys, err := p.credentials().Retrieve(t.Context())
			check(t, err)
			r, err := http.NewRequest("GET", "https://transcribestreaming.us-east-1.amazonaws.com:8443/stream-transcription-websocket?language-code=en-US&X-Amz-Expires=300", nil)
			check(t, err)
			empty := sha256.Sum256(nil)
			uri, _, err := v4.NewSigner().PresignHTTP(t.Context(), keys, r, hex.EncodeToString(empty[:]), awsSocketService, awsRegion, time.Now())
			check(t, err)
			h := p.transport(t)
			echoes(t, websocket.Dialer{Proxy: h.Proxy, TLSClientConfig: h.TLSClientConfig}, "wss"+strings.TrimPrefix(uri, "https"))
		})
	}
}

// echoes wants a WebSocket at a URL that sends everything back.
func echoes(t testing.TB, d websocket.Dialer, url string) {
	t.Helper()
	c, res, err := d.DialContext(t.Context(), url, nil)
	if err != nil {
		t.Fatalf("%v: %+v", err, res)
	}
	defer c.Close()
	for _, text := range []string{"hello", strings.Repeat("large", 100_000)} {
		if err := c.WriteMessage(websocket.BinaryMessage, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.ReadMessage(); err != nil || string(got) != text {
			t.Fatalf("%d bytes of %d, %v", len(got), len(text), err)
		}
	}
}
