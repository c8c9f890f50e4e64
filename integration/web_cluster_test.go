//go:build linux

package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"tshx/integration/peer"
	"tshx/internal/lab"
)

// webLab is a lab with an app whose page does what pages do.
type webLab struct {
	*lab.Lab
	home, caFile string
	h2, h1       *peer.Server // nginx in front, which offers h2 or not
	cert         tls.Certificate
}

var web = share(startWebLab)

func startWebLab() (*webLab, error) {
	app := httptest.NewServer(http.HandlerFunc(serveWebApp))
	atExit(app.Close)
	c := lab.Demo()
	c.Cluster = "web.tshx.test"
	c.Nodes = append(c.Nodes, lab.Node{Name: "node2"})
	c.Apps = append(c.Apps, lab.App{Name: "page", URI: app.URL}, lab.App{Name: "down", URI: "http://127.0.0.1:1"})
	l, err := lab.Start(context.Background(), c)
	if err != nil {
		return nil, err
	}
	atExit(func() { l.Close() })
	w := &webLab{Lab: l}
	dir, err := tempDir("web")
	if err != nil {
		return nil, err
	}
	w.home, w.caFile = filepath.Join(dir, "home"), filepath.Join(dir, "ca.pem")
	if err := l.WriteHome(w.home, l.Addr, lab.HomeOptions{}); err != nil {
		return nil, err
	}
	if err := os.WriteFile(w.caFile, l.Authority.Web.PEM(), 0o600); err != nil {
		return nil, err
	}
	if w.cert, err = l.Authority.WebCertificate("localhost", "page.localhost", "down.localhost"); err != nil {
		return nil, err
	}
	return w, w.startFronts()
}

func (w *webLab) startFronts() error {
	key, err := x509.MarshalPKCS8PrivateKey(w.cert.PrivateKey)
	if err != nil {
		return err
	}
	b := peer.Balancer{
		Backend:     loopback(w.Addr),
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.cert.Certificate[0]}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	}
	if w.h1, err = kept(b.Nginx()); err != nil {
		return err
	}
	b.HTTP2 = true
	w.h2, err = kept(b.Nginx())
	return err
}

// serveWebApp is a page that writes what it gets by a WebSocket and by events
// into its title, and what it is asked with at /headers.
func serveWebApp(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/":
		w.Header().Set("Content-Type", "text/html")
		http.SetCookie(w, &http.Cookie{Name: "own", Value: "biscuit"})
		io.WriteString(w, `<!doctype html><link rel="icon" href="data:,"><body><script>
			const got = {};
			const put = (key, value) => { got[key] = value; document.title = JSON.stringify(got); };
			new EventSource("/events").onmessage = (e) => put("event", e.data);
			const s = new WebSocket("wss://" + location.host + "/socket");
			s.onopen = () => s.send("ding");
			s.onmessage = (e) => put("socket", e.data);
			s.onclose = () => put("closed", true);
			fetch("/headers", {method: "POST", body: "x".repeat(1 << 20)}).then(r => r.text()).then(t => put("headers", t));
		</script>`)
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: tick\n\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case "/socket":
		c, err := (&websocket.Upgrader{}).Upgrade(w, r, nil) // looks at the origin
		if err != nil {
			return
		}
		defer c.Close()
		for {
			kind, m, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, append(m, " dong"...)) != nil {
				return
			}
		}
	default:
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d bytes, host %s, cookie %s", n, r.Host, r.Header.Get("Cookie"))
	}
}

// webWay is how a browser gets to the lab.
type webWay struct {
	name, addr string
	protocol   string // that it must speak then
}

func (w *webLab) ways() []webWay {
	return []webWay{
		{"directly", w.Addr, "http/1.1"}, // as real proxies have it for browsers
		{"nginx h2", at("localhost", w.h2.Addr), "h2"},
		{"nginx http 1.1", at("localhost", w.h1.Addr), "http/1.1"},
	}
}

// tab opens a browser, the lab's certificates in its pocket.
func (w *webLab) tab(t testing.TB) *tab {
	t.Helper()
	c, err := tls.Dial("tcp", loopback(w.Addr), &tls.Config{RootCAs: w.Authority.Web.Pool(), ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return openTab(t, w.cert, tls.Certificate{Leaf: c.ConnectionState().PeerCertificates[0]})
}

// signIn uses a link that comes by a way.
func (w *webLab) signIn(b *tab, way webWay) {
	b.t.Helper()
	b.open(w.WebLink(way.addr, lab.HomeOptions{}))
	b.until("document.activeElement.innerText === 'Continue as alice'")
	b.press("\r")
}

// below is the address of an app.
func (way webWay) below(app string) string {
	return app + "." + strings.Replace(way.addr, "127.0.0.1", "localhost", 1)
}
