package proxyserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"testing"

	"tshx/internal/identity"
)

// An app of another cluster is none of ours, whatever its name.
func TestAppOfAnotherCluster(t *testing.T) {
	f := start(t, Options{Apps: []App{appServer(t, func(http.ResponseWriter, *http.Request) { t.Error("a request got through") })}})
	id := identity.Identity{App: identity.App{Name: "app", SessionID: "s", PublicAddr: "app.localhost", Cluster: "other.example.com"}}
	if resp, body := get(t, f.client(newUser(t).tls(id), "http/1.1"), "https://"+f.addr+"/"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("%s %s", resp.Status, body)
	}
}

// An app that does not answer in time is told from one that is not there.
func TestAppTimedOut(t *testing.T) {
	f := start(t, Options{Apps: []App{{Name: "app", URI: "http://127.0.0.1:1"}}})
	f.apps["app"].reads.DialContext = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
	}
	if resp, body := get(t, f.client(newUser(t).tls(appRoute("app")), "http/1.1"), "https://"+f.addr+"/"); resp.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("%s %s", resp.Status, body)
	}
}

// Nobody is taken for an app of https who does not prove it, and what was said to
// him is hung up on.
func TestAppUnproven(t *testing.T) {
	stranger := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request got through") }))
	stranger.Config.ErrorLog = log.New(io.Discard, "", 0)
	stranger.StartTLS()
	defer stranger.Close()
	ended := make(chan error, 1)
	plain := backend(t, func(c net.Conn) {
		io.WriteString(c, "this is no TLS\r\n")
		_, err := io.Copy(io.Discard, c)
		ended <- err
	})
	f := start(t, Options{Apps: []App{{Name: "stranger", URI: stranger.URL}, {Name: "plain", URI: "https://" + plain}}})
	for _, name := range []string{"stranger", "plain"} {
		if resp, body := get(t, f.client(newUser(t).tls(appRoute(name)), "http/1.1"), "https://"+f.addr+"/"); resp.StatusCode != http.StatusBadGateway {
			t.Errorf("%s: %s %s", name, resp.Status, body)
		}
	}
	waitFor(t, "the end of the connection to the app", ended)
}

// A server that would rather speak HTTP/2 is spoken to in what we speak, by its name.
func TestBackendProtocol(t *testing.T) {
	names := make(chan string, 1)
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		names <- r.TLS.ServerName
		io.WriteString(w, r.Proto)
	}))
	app.EnableHTTP2 = true
	app.StartTLS()
	defer app.Close()
	f := start(t, Options{})
	u, err := url.Parse(app.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = net.JoinHostPort("localhost", u.Port())
	roots := x509.NewCertPool()
	roots.AddCert(app.Certificate())
	b := f.newHTTPBackend(kindApp, "app", u, &tls.Config{RootCAs: roots, ServerName: "example.com"}) // in the certificate of all test servers
	defer b.close()
	r, _ := http.NewRequestWithContext(t.Context(), "GET", app.URL, nil)
	resp, err := b.send(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); string(text) != "HTTP/1.1" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if name := <-names; name != "example.com" {
		t.Errorf("asked for %q", name)
	}
}

// An answer may begin before the body of the request has ended, and both go on.
func TestAppBothWays(t *testing.T) {
	f := start(t, Options{Apps: []App{appServer(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		io.WriteString(w, "early ")
		http.NewResponseController(w).Flush()
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})}})
	for _, version := range []string{"http/1.1", "h2"} {
		body, send := io.Pipe()
		resp, err := f.client(newUser(t).tls(appRoute("app")), version).Post("https://"+f.addr+"/", "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		early := make([]byte, 6)
		if _, err := io.ReadFull(resp.Body, early); err != nil || string(early) != "early " {
			t.Fatalf("%q, %v", early, err)
		}
		go func() {
			send.Write(make([]byte, 1<<20))
			send.Close()
		}()
		if rest, err := io.ReadAll(resp.Body); string(rest) != "1048576 <nil>" || err != nil {
			t.Errorf("%s: %q, %v", version, rest, err)
		}
		resp.Body.Close()
	}
}
