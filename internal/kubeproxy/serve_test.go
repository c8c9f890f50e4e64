package kubeproxy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"tshx/internal/kubeproxy"
	"tshx/internal/tlsroute"
)

// protocols runs a test over what clients may speak.
func protocols(t *testing.T, body func(t *testing.T, http2 bool)) {
	t.Run("http/1.1", func(t *testing.T) { body(t, false) })
	t.Run("h2", func(t *testing.T) { body(t, true) })
}

func TestRequest(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		requests := make(chan *http.Request, 1)
		w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			requests <- r
			rw.Header().Set("X-Api", "yes")
			rw.WriteHeader(http.StatusTeapot)
		}, nil)
		for _, tt := range []struct{ sent, arrives string }{
			{"/api/v1/pods?limit=500", "/api/v1/pods?limit=500"},
			{"", "/"},
			{"/", "/"},
			{"/a%2Fb/c%20d/..//e/?q=a;b&w=%zz", "/a%2Fb/c%20d/..//e/?q=a;b&w=%zz"},
		} {
			r, err := http.NewRequest("GET", w.Proxy.URL(0)+tt.sent, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = http.Header{"User-Agent": nil, "Impersonate-User": {"bob"}, "Accept": {"application/json;as=Table"}}
			res, err := w.client(http2).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			got := <-requests
			if res.StatusCode != http.StatusTeapot || res.Header.Get("X-Api") != "yes" || (res.ProtoMajor == 2) != http2 {
				t.Errorf("%s %s: %v", res.Proto, res.Status, res.Header)
			}
			if got.RequestURI != tt.arrives || got.Host != "kube-teleport-proxy-alpn.proxy.example.com" || got.ProtoMajor != 1 {
				t.Errorf("%s arrived as %s at %s by %s", tt.sent, got.RequestURI, got.Host, got.Proto)
			}
			for name, values := range got.Header {
				if strings.HasPrefix(name, "X-") || name == "Forwarded" || name == "User-Agent" {
					t.Errorf("header %s: %s", name, values)
				}
			}
			if got.Header.Get("Impersonate-User") != "bob" || got.Header.Get("Accept") != "application/json;as=Table" {
				t.Errorf("headers %v", got.Header)
			}
		}
	})
}

// Names of any length and kind, twenty at once, each with its own certificate.
func TestClusters(t *testing.T) {
	names := []string{strings.Repeat("long-", 30) + "name", "dots.in.name", "UPPER_case", "ünïcode/with slash"}
	for i := range 16 {
		names = append(names, fmt.Sprint("k", i))
	}
	owner := map[string]string{} // by certificate
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		io.WriteString(rw, r.URL.Path)
	}, func(w *world) {
		addr := w.options.Clusters[0].Addr
		w.options.Clusters = nil
		for _, name := range names {
			c := w.cluster(addr, name)
			cert := userCert(t)
			owner[string(cert.Certificate[0])] = name
			c.Route.Certificate = func() (*tls.Certificate, error) { return cert, nil }
			w.options.Clusters = append(w.options.Clusters, c)
		}
		w.options.Dialer = dialFunc{w.options.Dialer, func(_ context.Context, r tlsroute.Route) error {
			cert, err := r.Certificate()
			if err != nil || owner[string(cert.Certificate[0])] == "" || !strings.Contains(r.Name, fmt.Sprintf("%q", owner[string(cert.Certificate[0])])) {
				t.Errorf("%s dialled with the certificate of %s, %v", r.Name, owner[string(cert.Certificate[0])], err)
			}
			return nil
		}}
	})
	client := w.client(true)
	for i, name := range names {
		res, err := client.Get(w.Proxy.URL(i) + "/" + fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if body := readAll(t, res.Body); body != "/"+fmt.Sprint(i) {
			t.Errorf("%q: %s", name, body)
		}
	}
	if n := w.accepted.Load(); n != int64(len(names)) {
		t.Errorf("%d connections for %d clusters", n, len(names))
	}
}

// Without a prefix the server's name tells the cluster: kubectl get --raw has none.
func TestServerName(t *testing.T) {
	dialled := make(chan string, 10)
	w := newWorld(t, unused, func(w *world) {
		w.options.Clusters = append(w.options.Clusters, w.cluster("proxy.example.com", "second"))
		w.options.Dialer = dialFunc{nil, func(_ context.Context, r tlsroute.Route) error {
			dialled <- r.Name
			return errors.New("as far as this test goes")
		}}
	})
	for _, i := range []int{1, 0, 1} {
		client := w.client(true)
		client.Transport.(*http.Transport).TLSClientConfig.ServerName = w.Proxy.ServerName(i)
		res, err := client.Get("https://proxy.example.com/version")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res, err = client.Get(w.Proxy.URL(0) + "/version"); err != nil { // the path counts
			t.Fatal(err)
		}
		res.Body.Close()
	}
	first, second := `kube cluster "kube"`, `kube cluster "second"`
	for i, want := range []string{second, first, first, first, second, first} {
		if got := <-dialled; got != want {
			t.Errorf("dial %d went to %s", i, got)
		}
	}
}

// kubectl prints a Status only where it asked for objects, and warnings always.
func TestWarning(t *testing.T) {
	w := newWorld(t, unused, func(w *world) {
		w.options.Explain = func(error) string { return "a \"b\" \\ c\nd" }
	})
	w.fail(errors.New("expired"))
	client := w.client(true)
	for path, want := range map[string]string{
		"/api": `299 - "a \"b\" \\ c d"`, "/version": `299 - "a \"b\" \\ c d"`, "/apis/apps/v1": `299 - "a \"b\" \\ c d"`,
		"/api/v1/pods": "", "/apis/apps/v1/deployments/x": "",
	} {
		res, err := client.Get(w.Proxy.URL(0) + path)
		if err != nil {
			t.Fatal(err)
		}
		if s := parseStatus(t, readAll(t, res.Body)); res.Header.Get("Warning") != want || s.Message != "a \"b\" \\ c\nd" {
			t.Errorf("%s: %q, %+v", path, res.Header["Warning"], s)
		}
	}
}

// The same of what the other side says no to.
func TestWarningOfUpstream(t *testing.T) {
	const status = `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"access denied"}`
	tests := map[string]struct {
		kind, body string
		code       int
		want       string
	}{
		"/api":         {"application/json", status, 403, `299 - "access denied"`},
		"/version":     {"application/json; charset=utf-8", status, 502, `299 - "access denied"`},
		"/healthz":     {"text/plain", status, 500, ""},
		"/apis":        {"application/json", "{", 403, ""},
		"/apis/apps":   {"application/json", `{"message":"x"}`, 403, ""},
		"/openapi/v2":  {"application/json", status, 200, ""},
		"/api/v1/pods": {"application/json", status, 403, ""},
	}
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		tt := tests[r.URL.Path]
		rw.Header().Set("Content-Type", tt.kind)
		rw.WriteHeader(tt.code)
		io.WriteString(rw, tt.body)
	}, nil)
	client := w.client(true)
	for path, tt := range tests {
		res, err := client.Get(w.Proxy.URL(0) + path)
		if err != nil {
			t.Fatal(err)
		}
		if body := readAll(t, res.Body); string(body) != tt.body || res.StatusCode != tt.code || res.Header.Get("Warning") != tt.want {
			t.Errorf("%s: %d %s %q", path, res.StatusCode, body, res.Header["Warning"])
		}
	}
}

func TestBodies(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Trailer", "X-Sum")
			h := sha256.New()
			http.NewResponseController(rw).EnableFullDuplex()
			io.Copy(io.MultiWriter(h, rw), r.Body)
			rw.Header().Set("X-Sum", fmt.Sprintf("%x", h.Sum(nil)))
			rw.Header().Set(http.TrailerPrefix+"X-Late", "yes")
		}, nil)
		client := w.client(http2)
		for _, size := range []int{0, 1, 64 << 10, 64<<10 + 1, 8 << 20} {
			for _, known := range []bool{true, false} {
				body := make([]byte, size)
				rand.NewChaCha8([32]byte{}).Read(body)
				r, _ := http.NewRequest("PATCH", w.Proxy.URL(0)+"/", bytes.NewReader(body))
				if !known {
					r.Body, r.ContentLength = io.NopCloser(r.Body), -1
				}
				res, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				if got := readAll(t, res.Body); got != string(body) {
					t.Errorf("%d bytes of %d came back", len(got), size)
				}
				if sum := fmt.Sprintf("%x", sha256.Sum256(body)); res.Trailer.Get("X-Sum") != sum || res.Trailer.Get("X-Late") != "yes" {
					t.Errorf("trailer %v", res.Trailer)
				}
			}
		}
	})
}

// A body that nobody wants is not sent: the client waits to be asked for it. With
// HTTP/2 it is net/http that asks.
func TestExpectContinue(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/no" {
				rw.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
			io.Copy(rw, r.Body)
		}, nil)
		for path, want := range map[string]string{"/yes": "200 body true", "/no": fmt.Sprint("413  ", http2)} {
			body := &watchedBody{Reader: strings.NewReader("body")}
			r, _ := http.NewRequest("POST", w.Proxy.URL(0)+path, body)
			r.ContentLength = 4
			r.Header.Set("Expect", "100-continue")
			res, err := w.client(http2).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(res.StatusCode, " ", readAll(t, res.Body), " ", body.read); got != want {
				t.Errorf("%s: %s", path, got)
			}
		}
	})
}

type watchedBody struct {
	io.Reader
	read bool
}

func (b *watchedBody) Read(p []byte) (int, error) { b.read = true; return b.Reader.Read(p) }

// What a watch sends arrives at once, and its end is seen by the other side.
func TestStreams(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		next, gone := make(chan bool), make(chan bool)
		w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/known" {
				rw.Header().Set("Content-Length", "12")
			}
			for more := range next {
				if !more {
					panic(http.ErrAbortHandler) // a break
				}
				io.WriteString(rw, "event\n")
				http.NewResponseController(rw).Flush()
				if r.URL.Path == "/leave" {
					<-r.Context().Done()
					close(gone)
					return
				}
			}
		}, nil)
		client := w.client(http2)
		event := func(res *http.Response) {
			t.Helper()
			buf := make([]byte, 6)
			if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != "event\n" {
				t.Fatalf("%q, %v", buf, err)
			}
		}
		watch := func(path string) *http.Response {
			t.Helper()
			go func() { next <- true }()
			res, err := client.Get(w.Proxy.URL(0) + path)
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		res := watch("/watch")
		event(res)
		next <- true
		event(res)
		next <- false
		if _, err := io.ReadAll(res.Body); err == nil {
			t.Error("a broken stream looks complete")
		}
		res.Body.Close()

		res = watch("/known")
		event(res)
		next <- true
		event(res)
		next <- false
		res.Body.Close()

		res = watch("/leave")
		event(res)
		res.Body.Close()
		<-gone
		close(next)
	})
}

func TestErrors(t *testing.T) {
	reported := make(chan string, 10)
	w := newWorld(t, unused, func(w *world) {
		w.options.Explain = func(err error) string { return "explained: " + err.Error() }
		w.options.Report = func(c kubeproxy.Cluster, err error) { reported <- c.Name + " " + err.Error() }
	})
	for _, tt := range []struct {
		name      string
		cert, err error
		code      int
		reason    string
	}{
		{"no certificate", errors.New("expired; run tsh kube login"), nil, 401, "Unauthorized"},
		{"refused", nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}, 502, "BadGateway"},
		{"no answer", nil, fmt.Errorf("no answer within 3s: %w", context.DeadlineExceeded), 504, "Timeout"},
		{"timeout of the system", nil, &net.OpError{Op: "dial", Err: timeoutError{}}, 504, "Timeout"},
		{"healed and refused", nil, errors.New("else"), 502, "BadGateway"},
	} {
		for _, upgrade := range []string{"", "SPDY/3.1"} {
			t.Run(strings.TrimSpace(tt.name+" "+upgrade), func(t *testing.T) {
				w.fail(tt.cert)
				w.failDial(tt.err)
				r, _ := http.NewRequest("POST", w.Proxy.URL(0)+"/api", nil)
				if upgrade != "" {
					r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {upgrade}}
				}
				res, err := w.client(false).Do(r)
				if err != nil {
					t.Fatal(err)
				}
				want := tt.cert
				if want == nil {
					want = tt.err
				}
				s := parseStatus(t, readAll(t, res.Body))
				if res.StatusCode != tt.code || s.Code != tt.code || s.Reason != tt.reason || s.Message != "explained: "+want.Error() {
					t.Errorf("%d %+v", res.StatusCode, s)
				}
				if res.Header.Get("Content-Type") != "application/json" || res.Header.Get("Warning") != `299 - "`+s.Message+`"` {
					t.Errorf("header %v", res.Header)
				}
				if got := <-reported; got != "kube "+want.Error() || len(reported) > 0 {
					t.Errorf("reported %q and %d more", got, len(reported))
				}
			})
		}
	}
	for path, want := range map[string]string{
		"/api": "400 BadRequest",
		tlsroute.KubePathOf(teleportCluster, "other") + "/x": "404 NotFound",
		tlsroute.KubePathOf("other", "kube"):                 "404 NotFound",
	} {
		client := w.client(true)
		if path == "/api" {
			client.Transport.(*http.Transport).TLSClientConfig.ServerName = "c99.kube.tshx.localhost"
		}
		res, err := client.Get("https://proxy.example.com" + path)
		if err != nil {
			t.Fatal(err)
		}
		s := parseStatus(t, readAll(t, res.Body))
		if got := fmt.Sprint(s.Code, " ", s.Reason); got != want || res.StatusCode != s.Code || s.Message == "" {
			t.Errorf("%s: %+v", path, s)
		}
	}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "timed out" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// The proxy does not take the certificate: that is an alert, which comes only
// after the handshake.
func TestRefusedCertificate(t *testing.T) {
	w := newWorld(t, unused, nil)
	foreign, err := kubeproxy.New(kubeproxy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	pair, err := tls.X509KeyPair(foreign.Access().Cert, foreign.Access().Key)
	if err != nil {
		t.Fatal(err)
	}
	w.cert.Store(&pair)
	if code, body := w.get(w.client(true), "/api"); code != 401 || parseStatus(t, body).Code != 401 {
		t.Errorf("%d %s", code, body)
	}
	// The alert is behind the handshake, and what is still being written fails first.
	for _, size := range []int{0, 60 << 10, 8 << 20} {
		for range 10 {
			res, err := w.client(true).Post(w.Proxy.URL(0)+"/api", "text/plain", bytes.NewReader(make([]byte, size)))
			if err != nil {
				t.Fatal(err)
			}
			if body := readAll(t, res.Body); res.StatusCode != 401 {
				t.Errorf("%d bytes: %d %s", size, res.StatusCode, body)
			}
		}
	}
}

// Some clients do not know tls-server-name. The path tells the cluster.
func TestWithoutServerName(t *testing.T) {
	w := newWorld(t, hello, nil)
	client := w.client(true)
	client.Transport.(*http.Transport).TLSClientConfig.ServerName = "" // the host of the URL
	if code, body := w.get(client, "/"); code != 200 || body != "hello" {
		t.Errorf("%d %s", code, body)
	}
	u, err := url.Parse(w.Proxy.URL(0))
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Get("https://" + u.Host + "/")
	if err != nil {
		t.Fatal(err)
	}
	if readAll(t, res.Body); res.StatusCode != 400 {
		t.Errorf("without the path: %s", res.Status)
	}
}

// The server knows nothing of the prefix.
func TestRedirect(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/proxy":
			http.Redirect(rw, r, "/proxy/", http.StatusMovedPermanently)
		case "/proxy/":
			io.WriteString(rw, "there")
		}
	}, nil)
	if _, body := w.get(w.client(true), "/proxy"); body != "there" {
		t.Error(body)
	}
}
