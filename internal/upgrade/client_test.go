package upgrade

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// answering serves TLS on ln; answer writes what it likes behind each request
// header. The connection is closed behind it once the client has closed.
func answering(t *testing.T, answer func(c *tls.Conn, r *http.Request)) Target {
	t.Helper()
	ln := listen(t)
	script(t, ln, func(c net.Conn) {
		tc := tls.Server(c, serverTLS())
		r, err := http.ReadRequest(bufio.NewReader(tc))
		if err != nil {
			return // cut off by the client
		}
		answer(tc, r)
		tc.CloseWrite()
		io.Copy(io.Discard, tc) // until the client has closed, or the test hangs
	})
	return target(ln)
}

func legacySwitch(kind Kind) string {
	return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + string(kind) + "\r\n\r\n"
}

// TestRequests compares the requests byte for byte.
func TestRequests(t *testing.T) {
	for _, method := range []Method{WebSocket, Legacy} {
		t.Run(string(method), func(t *testing.T) {
			requests := make(chan []string, 1)
			ln := listen(t)
			script(t, ln, func(c net.Conn) {
				br := bufio.NewReader(tls.Server(c, serverTLS()))
				var lines []string
				for {
					line, err := br.ReadString('\n')
					if line == "\r\n" || err != nil {
						break
					}
					lines = append(lines, strings.TrimSuffix(line, "\r\n"))
				}
				slices.Sort(lines[1:])
				requests <- lines
			})
			tgt := target(ln)
			tgt.Connect(t.Context(), ALPNPing, method)
			want := []string{
				"GET /webapi/connectionupgrade HTTP/1.1",
				"Connection: Upgrade",
				"Host: " + tgt.Addr,
				"Upgrade: alpn-ping",
				"User-Agent: tshx",
				"X-Teleport-Upgrade: alpn-ping",
			}
			got := <-requests
			if method == WebSocket {
				i := slices.IndexFunc(got, func(l string) bool { return strings.HasPrefix(l, "Sec-WebSocket-Key: ") })
				if i < 0 || len(got[i]) != len("Sec-WebSocket-Key: ")+24 {
					t.Fatalf("no key in %q", got)
				}
				got = slices.Delete(got, i, i+1)
				want = []string{
					"GET /webapi/connectionupgrade HTTP/1.1",
					"Connection: Upgrade",
					"Host: " + tgt.Addr,
					"Sec-WebSocket-Protocol: alpn-ping",
					"Sec-WebSocket-Version: 13",
					"Upgrade: websocket",
					"User-Agent: tshx",
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSplitAnswer drips an answer and the stream behind it byte by byte, and
// checks that nothing is sent in the meantime.
func TestSplitAnswer(t *testing.T) {
	for _, tc := range []struct {
		method Method
		stream string
	}{
		{Legacy, "early bytes"},
		{WebSocket, makeFrame(finBinary, "early") + makeFrame(finPing, "") + makeFrame(finBinary, " bytes")},
	} {
		for _, drip := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/drip=%v", tc.method, drip), func(t *testing.T) {
				tgt := answering(t, func(c *tls.Conn, r *http.Request) {
					all := legacySwitch(ALPN)
					if tc.method == WebSocket {
						all = switched(r)
					}
					header := len(all)
					all += tc.stream
					if !drip {
						io.WriteString(c, all)
						return
					}
					for i := range len(all) {
						if i == header-1 {
							// The client has the header but for one byte.
							c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
							if n, err := c.NetConn().Read(make([]byte, 1)); n > 0 {
								t.Errorf("bytes before the end of the answer, %v", err)
							}
							c.SetReadDeadline(time.Time{})
						}
						io.WriteString(c, all[i:i+1])
					}
				})
				c, _, err := tgt.Connect(t.Context(), ALPN, tc.method)
				must(t, err)
				defer c.Close()
				if got, err := io.ReadAll(c); string(got) != "early bytes" || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
	}
}

const teleport404 = "Content-Type: application/json\r\nContent-Length: 79\r\n\r\n" +
	"{\n    \"error\": {\n        \"message\": \"unsupported upgrade types: [nope]\"\n    }\n}"

// TestRefused checks error and hint for each answer that is not a 101.
func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		name, answer  string // behind "HTTP/1.1 "
		method        Method
		text          string // of the error, behind the address
		hints         []string
		noSecondTried bool
	}{
		{
			name: "proxy without WebSocket", method: WebSocket,
			answer: "404 Not Found\r\n" + teleport404,
			text:   "refused the websocket upgrade: 404 Not Found: unsupported upgrade types: [nope]",
			hints:  []string{EnvMethod + "=legacy"},
		}, {
			name: "proxy without legacy", method: Legacy,
			answer: "404 Not Found\r\n" + teleport404,
			text:   "refused the legacy upgrade: 404 Not Found: unsupported upgrade types: [nope]",
			hints:  []string{"unset " + EnvMethod},
		}, {
			name: "proxy without both", method: Auto,
			answer: "404 Not Found\r\n" + teleport404,
			text:   "refused the connection upgrade: websocket: 404 Not Found: unsupported upgrade types: [nope]; legacy: 404 Not Found: unsupported upgrade types: [nope]",
			hints:  []string{"too old"},
		}, {
			name: "not routed", method: WebSocket,
			answer: "404 Not Found\r\nServer: nginx/1.22.1\r\nContent-Length: 60\r\n\r\n<html><head><title>404 Not Found</title></head>\n0123456789012",
			text:   "refused the websocket upgrade: 404 Not Found (Server: nginx/1.22.1)",
			hints:  []string{"does not route " + Path},
		}, {
			name: "nginx forbids", method: Auto,
			answer: "403 Forbidden\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n",
			text:   "refused the connection upgrade: websocket: 403 Forbidden (Server: nginx); legacy: 403 Forbidden (Server: nginx)",
			hints:  []string{"allow WebSocket", Path, "proxy_http_version 1.1", "proxy_set_header Upgrade"},
		}, {
			name: "AWS forbids", method: WebSocket,
			answer: "400 Bad Request\r\nServer: awselb/2.0\r\nContent-Length: 0\r\n\r\n",
			text:   "refused the websocket upgrade: 400 Bad Request (Server: awselb/2.0)",
			hints:  []string{"allow WebSocket", "AWS"},
		}, {
			name: "upgrade required", method: WebSocket,
			answer: "426 Upgrade Required\r\nServer: envoy\r\nContent-Length: 0\r\n\r\n",
			text:   "refused the websocket upgrade: 426 Upgrade Required (Server: envoy)",
			hints:  []string{"upgrade_configs"},
		}, {
			name: "rate limit", method: Auto,
			answer: "429 Too Many Requests\r\nContent-Length: 5\r\n\r\nslow\n",
			text:   "refused the websocket upgrade: 429 Too Many Requests: slow",
			hints:  []string{"rate limit"}, noSecondTried: true,
		}, {
			name: "header dropped", method: WebSocket,
			answer: "200 OK\r\nServer: cloudflare\r\nContent-Length: 26\r\n\r\n<html>no title here</html>",
			text:   "refused the websocket upgrade: 200 OK (Server: cloudflare)",
			hints:  []string{"without its Upgrade header", "Cloudflare"},
		}, {
			name: "login page", method: WebSocket,
			answer: "302 Found\r\nServer: Google Frontend\r\nLocation: https://me:pw@login.example.com/auth?token=secret\r\nContent-Length: 0\r\n\r\n",
			text:   "refused the websocket upgrade: 302 Found to https://login.example.com/auth (Server: Google Frontend)",
			hints:  []string{"login of its own"},
		}, {
			name: "unauthorized", method: Legacy,
			answer: "401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
			text:   "refused the legacy upgrade: 401 Unauthorized",
			hints:  []string{"login of its own"},
		}, {
			name: "backend down", method: WebSocket,
			answer: "502 Bad Gateway\r\nServer: HAProxy\r\nConnection: close\r\n\r\nno\x1b[31m\x00server\u202e\r\navailable",
			text:   "refused the websocket upgrade: 502 Bad Gateway (Server: HAProxy): no [31m server available",
			hints:  []string{"cannot reach the proxy"},
		}, {
			name: "unknown status", method: Legacy,
			answer: "599 What\r\nContent-Length: 400\r\n\r\n" + strings.Repeat("long ", 80),
			text:   "refused the legacy upgrade: 599: " + strings.Repeat("long ", 32) + "...",
			hints:  []string{"allow WebSocket"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			requests := make(chan string, 2)
			tgt := answering(t, func(c *tls.Conn, r *http.Request) {
				requests <- r.Header.Get("Upgrade")
				io.WriteString(c, "HTTP/1.1 "+tc.answer)
			})
			c, method, err := tgt.Connect(t.Context(), ALPN, tc.method)
			if c != nil || method != Auto || err == nil {
				t.Fatalf("got %v, %q, %v", c, method, err)
			}
			if diff := cmp.Diff(tgt.Addr+" "+tc.text, err.Error()); diff != "" {
				t.Error(diff)
			}
			refused, ok := errors.AsType[*RefusedError](err)
			if !ok || fmt.Sprint(refused.Status) != tc.answer[:3] {
				t.Errorf("%#v", refused)
			}
			hint := err.(interface{ Hint() string }).Hint()
			for _, part := range tc.hints {
				if !strings.Contains(hint, part) {
					t.Errorf("hint %q lacks %q", hint, part)
				}
			}
			if strings.ContainsAny(hint, "\n") {
				t.Errorf("hint %q has more than one line", hint)
			}
			want := []string{"websocket", "alpn"}
			switch {
			case tc.method == Legacy:
				want = want[1:]
			case tc.method == WebSocket, tc.noSecondTried:
				want = want[:1]
			}
			var got []string
			for range len(requests) {
				got = append(got, <-requests)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestBroken101 checks answers that switch, but not to what was asked for.
func TestBroken101(t *testing.T) {
	const ws = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	for _, tc := range []struct {
		name   string
		method Method
		answer func(accept string) string
		text   string
	}{
		{"wrong Accept", Auto, func(string) string {
			return ws + "Sec-WebSocket-Accept: " + acceptKey("other") + "\r\nSec-WebSocket-Protocol: alpn\r\n\r\n"
		}, "Sec-WebSocket-Accept does not match"},
		{"no Accept", Auto, func(string) string { return ws + "Sec-WebSocket-Protocol: alpn\r\n\r\n" }, "Sec-WebSocket-Accept does not match"},
		{"no subprotocol", Auto, func(a string) string { return ws + "Sec-WebSocket-Accept: " + a + "\r\n\r\n" }, `subprotocol is "" instead of "alpn"`},
		{"other subprotocol", Auto, func(a string) string {
			return ws + "Sec-WebSocket-Accept: " + a + "\r\nSec-WebSocket-Protocol: alpn-ping\r\n\r\n"
		}, `subprotocol is "alpn-ping" instead of "alpn"`},
		{"subprotocol in capitals", Auto, func(a string) string {
			return ws + "Sec-WebSocket-Accept: " + a + "\r\nSec-WebSocket-Protocol: ALPN\r\n\r\n"
		}, `subprotocol is "ALPN"`},
		{"extension", Auto, func(a string) string {
			return ws + "Sec-WebSocket-Accept: " + a + "\r\nSec-WebSocket-Protocol: alpn\r\nSec-WebSocket-Extensions: x-mine\r\n\r\n"
		}, `extension "x-mine"`},
		{"compression", Auto, func(a string) string {
			return ws + "Sec-WebSocket-Accept: " + a + "\r\nSec-WebSocket-Protocol: alpn\r\n" +
				"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n\r\n"
		}, "extension"},
		{"WebSocket to another protocol", Auto, func(a string) string {
			return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: alpn\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + a + "\r\n\r\n"
		}, `switched to "alpn" instead of "websocket"`},
		{"without Connection", Auto, func(a string) string {
			return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + a + "\r\n\r\n"
		}, "without Connection: Upgrade"},
		{"legacy to the other kind", Legacy, func(string) string { return legacySwitch(ALPNPing) }, `switched to "alpn-ping" instead of "alpn"`},
		{"legacy to nothing", Legacy, func(string) string { return "HTTP/1.1 101 Switching Protocols\r\n\r\n" }, `switched to "" instead of "alpn"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tgt := answering(t, func(c *tls.Conn, r *http.Request) {
				io.WriteString(c, tc.answer(acceptKey(r.Header.Get("Sec-WebSocket-Key"))))
			})
			_, _, err := tgt.Connect(t.Context(), ALPN, tc.method)
			refused, ok := errors.AsType[*RefusedError](err)
			if !ok || refused.Status != 101 || !strings.Contains(err.Error(), tc.text) || refused.Hint() == "" {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestLegacyAnswerInOtherCase(t *testing.T) {
	tgt := answering(t, func(c *tls.Conn, _ *http.Request) {
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nupgrade: ALPN\r\nconnection: upgrade\r\n\r\n")
	})
	c, _, err := tgt.Connect(t.Context(), ALPN, Legacy)
	must(t, err)
	c.Close()
}

// TestNoAnswer has servers that send something else than HTTP, or nothing.
func TestNoAnswer(t *testing.T) {
	for name, tc := range map[string]struct{ answer, text string }{
		"closed":                {"", "without an answer"},
		"closed in the header":  {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: alpn\r\n", "without an answer"},
		"not HTTP":              {"SSH-2.0-OpenSSH_9.2\r\n" + strings.Repeat("z", 5000) + "\n", "malformed HTTP"},
		"header without an end": {"HTTP/1.1 101 Switching Protocols\r\n" + strings.Repeat("A: b\r\n", 30_000), errLongAnswer.Error()},
		"line without an end":   {"HTTP/1.1 101 " + strings.Repeat("x", 100_000), errLongAnswer.Error()},
	} {
		for _, method := range []Method{WebSocket, Legacy} {
			t.Run(name+"/"+string(method), func(t *testing.T) {
				tgt := answering(t, func(c *tls.Conn, _ *http.Request) { io.WriteString(c, tc.answer) })
				_, _, err := tgt.Connect(t.Context(), ALPN, method)
				if err == nil || !strings.Contains(err.Error(), tc.text) || len(err.Error()) > 300 {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

// A refusal is told at once, even if its body never ends.
func TestRefusalWithoutAnEnd(t *testing.T) {
	for _, method := range []Method{WebSocket, Legacy} {
		t.Run(string(method), func(t *testing.T) {
			tgt := answering(t, func(c *tls.Conn, _ *http.Request) {
				io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nServer: slow\r\nContent-Length: 500\r\n\r\nno")
				io.Copy(io.Discard, c)
			})
			start := time.Now()
			_, _, err := tgt.Connect(t.Context(), ALPN, method)
			refused, ok := errors.AsType[*RefusedError](err)
			if !ok || refused.Status != 403 || refused.Server != "slow" {
				t.Errorf("got %v", err)
			}
			if took := time.Since(start); took > HandshakeTimeout/2 {
				t.Errorf("told after %v", took)
			}
		})
	}
}

// Some firewalls hang up on a WebSocket request instead of answering it.
func TestLegacyAfterNoAnswer(t *testing.T) {
	tgt := answering(t, func(c *tls.Conn, r *http.Request) {
		if !hasToken(r.Header, "Upgrade", "websocket") {
			io.WriteString(c, legacySwitch(ALPN))
		}
	})
	c, method, err := tgt.Connect(t.Context(), ALPN, Auto)
	must(t, err)
	c.Close()
	if method != Legacy {
		t.Errorf("method %q", method)
	}
}

func TestConnectFailures(t *testing.T) {
	ln := listen(t)
	script(t, ln, func(c net.Conn) { tls.Server(c, serverTLS()).Handshake() })
	trusted := target(ln)
	t.Run("unknown authority", func(t *testing.T) {
		tgt := trusted
		tgt.Roots = nil
		_, _, err := tgt.Connect(t.Context(), ALPN, Auto)
		if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
			t.Errorf("got %v", err)
		}
	})
	t.Run("dial", func(t *testing.T) {
		tgt := trusted
		tgt.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, io.ErrNoProgress }
		if _, _, err := tgt.Connect(t.Context(), ALPN, Auto); !errors.Is(err, io.ErrNoProgress) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("second dial", func(t *testing.T) {
		tgt := answering(t, func(c *tls.Conn, _ *http.Request) {
			io.WriteString(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		})
		dials := 0
		tgt.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials++; dials > 1 {
				return nil, io.ErrNoProgress
			}
			return net.Dial(network, addr)
		}
		_, _, err := tgt.Connect(t.Context(), ALPN, Auto)
		refused, ok := errors.AsType[*RefusedError](err)
		if !errors.Is(err, io.ErrNoProgress) || !ok || refused.Status != 404 {
			t.Errorf("got %v", err)
		}
	})
	for name, call := range map[string]func() error{
		"address": func() error { _, _, err := (Target{Addr: "x"}).Connect(t.Context(), ALPN, Auto); return err },
		"kind":    func() error { _, _, err := trusted.Connect(t.Context(), "x", Auto); return err },
		"method":  func() error { _, _, err := trusted.Connect(t.Context(), ALPN, "x"); return err },
	} {
		t.Run("bad "+name, func(t *testing.T) {
			if call() == nil {
				t.Error("no error")
			}
		})
	}
}

// TestCancel ends the context at each stage. The server sees its connection
// end, because script waits for that.
func TestCancel(t *testing.T) {
	for name, stage := range map[string]func(c net.Conn, reached func()){
		"in TLS": func(c net.Conn, reached func()) {
			io.ReadFull(c, make([]byte, 5))
			reached()
			io.Copy(io.Discard, c)
		},
		"before the answer": func(c net.Conn, reached func()) {
			tc := tls.Server(c, serverTLS())
			http.ReadRequest(bufio.NewReader(tc))
			reached()
			io.Copy(io.Discard, tc)
		},
		"in the answer": func(c net.Conn, reached func()) {
			tc := tls.Server(c, serverTLS())
			http.ReadRequest(bufio.NewReader(tc))
			io.WriteString(tc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: ")
			reached()
			io.Copy(io.Discard, tc)
		},
		"in a refusal": func(c net.Conn, reached func()) {
			tc := tls.Server(c, serverTLS())
			http.ReadRequest(bufio.NewReader(tc))
			io.WriteString(tc, "HTTP/1.1 403 Forbidden\r\n\r\nbecause")
			reached()
			io.Copy(io.Discard, tc)
		},
	} {
		for _, method := range []Method{WebSocket, Legacy, Auto} {
			t.Run(name+"/"+string(method), func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				ln := listen(t)
				script(t, ln, func(c net.Conn) { stage(c, cancel) })
				c, _, err := target(ln).Connect(ctx, ALPN, method)
				if c != nil || !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, %v", c, err)
				}
			})
		}
	}
	t.Run("before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := target(listen(t)).Connect(ctx, ALPN, Auto); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("afterwards", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tgt := serveUpgrade(t, &Handler{Serve: func(_ context.Context, c net.Conn) {
			defer c.Close()
			io.Copy(c, c)
		}})
		c, _, err := tgt.Connect(ctx, ALPN, Auto)
		must(t, err)
		defer c.Close()
		cancel()
		io.WriteString(c, "still here")
		if _, err := io.ReadFull(c, make([]byte, 10)); err != nil {
			t.Error(err)
		}
	})
}

// TestHung checks the bound on a server that never answers.
func TestHung(t *testing.T) {
	for _, method := range []Method{WebSocket, Legacy} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			_, _, err := hungTarget().Connect(t.Context(), ALPN, method)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "10s") {
				t.Errorf("got %v", err)
			}
			if took := time.Since(start); took != HandshakeTimeout {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestHangsInRefusal has a body that never ends: the status is still reported.
func TestHangsInRefusal(t *testing.T) {
	ln := listen(t)
	script(t, ln, func(c net.Conn) {
		tc := tls.Server(c, serverTLS())
		http.ReadRequest(bufio.NewReader(tc))
		io.WriteString(tc, "HTTP/1.1 403 Forbidden\r\n\r\nbecause")
		io.Copy(io.Discard, tc)
	})
	_, _, err := target(ln).Connect(t.Context(), ALPN, Legacy)
	refused, ok := errors.AsType[*RefusedError](err)
	if !ok || refused.Status != 403 || refused.Body != "because" {
		t.Errorf("got %v", err)
	}
}

func FuzzLegacyAnswer(f *testing.F) {
	f.Add([]byte(legacySwitch(ALPN) + "early"))
	f.Add([]byte("HTTP/1.1 404 Not Found\r\n" + teleport404))
	f.Add([]byte("HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nServer: \x00\r\n\r\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		tgt := Target{Addr: "proxy.test:443"}
		c, err := tgt.connectLegacy(&fixed{answer: answer}, ALPN)
		if err == nil {
			// Whatever stands behind the header comes out of the stream.
			got, _ := io.ReadAll(c)
			if !strings.HasSuffix(string(answer), string(got)) {
				t.Fatalf("stream %q is no end of %q", got, answer)
			}
			return
		}
		text := err.Error()
		if hinted, ok := err.(interface{ Hint() string }); ok {
			text += hinted.Hint()
		}
		if strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u202e' }) >= 0 || len(text) > 2000 {
			t.Fatalf("error %q", text)
		}
	})
}

// fixed is a connection that takes everything and yields answer.
type fixed struct {
	net.Conn // nil
	answer   []byte
}

func (f *fixed) Write(p []byte) (int, error)     { return len(p), nil }
func (f *fixed) SetReadDeadline(time.Time) error { return nil }
func (f *fixed) Read(p []byte) (int, error) {
	if len(f.answer) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.answer)
	f.answer = f.answer[n:]
	return n, nil
}
