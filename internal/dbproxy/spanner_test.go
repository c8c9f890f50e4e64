package dbproxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func TestSpannerLines(t *testing.T) {
	testLines(t, &spanner, []lineTest{
		{
			"a full name", Endpoint{Host: "127.0.0.1", Port: "9010", Name: "projects/p/instances/main/databases/shop", Tunnel: true},
			"spanner-cli -p p -i main -d shop",
			"jdbc:cloudspanner://127.0.0.1:9010/projects/p/instances/main/databases/shop;usePlainText=true",
			[]string{"SPANNER_EMULATOR_HOST=127.0.0.1:9010"},
		},
		{
			"the database alone", Endpoint{Host: "::1", Port: "9010", Name: "shop", Tunnel: true},
			"spanner-cli -d shop", "jdbc:cloudspanner://[::1]:9010/projects//instances//databases/shop;usePlainText=true",
			[]string{"SPANNER_EMULATOR_HOST=[::1]:9010"},
		},
	})
}

// http2Only is for HTTP/2 from the first byte on, without TLS.
func http2Only() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// TestGRPCRefuse asks as a gRPC client does, by the HTTP/2 of the standard
// library.
func TestGRPCRefuse(t *testing.T) {
	for name, tt := range map[string]struct {
		login  bool
		status string
	}{
		"network": {false, "9"},
		"login":   {true, "16"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := refusing(t, &spanner, true, Refusal{Text: "müde: " + advice, Login: tt.login}).Addr()
			transport := &http.Transport{Protocols: http2Only()}
			defer transport.CloseIdleConnections()
			// A head of more than one frame.
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
				"http://"+addr+"/google.spanner.v1.Spanner/CreateSession", strings.NewReader("\x00\x00\x00\x00\x00"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/grpc")
			req.Header.Set("X-Long", strings.Repeat("long", 5000))
			resp, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || len(body) > 0 || resp.StatusCode != http.StatusOK {
				t.Errorf("status %d, body %q, %v", resp.StatusCode, body, err)
			}
			text, err := url.PathUnescape(resp.Header.Get("Grpc-Message"))
			if err != nil || text != "müde: "+advice || resp.Header.Get("Grpc-Status") != tt.status ||
				resp.Header.Get("Content-Type") != "application/grpc" {
				t.Errorf("%v, message %q, %v", resp.Header, text, err)
			}
		})
	}
}

func TestGRPCMessage(t *testing.T) {
	if got, want := grpcMessage("50% of ü\r\n"), "50%25 of %C3%BC%0D%0A"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := grpcMessage(strings.Repeat("ü", 1<<20)); len(got) > http2Frame/2 {
		t.Errorf("%d bytes do not fit into a frame", len(got))
	}
}

// http2Hello is a client's preface with frames behind it.
func http2Hello(t testing.TB, frames func(f *http2.Framer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&b, nil)
	if err := errors.Join(f.WriteSettings(), frames(f)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// call opens a stream, with one header field.
func call(f *http2.Framer, stream uint32) error {
	var block bytes.Buffer
	if err := hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":method", Value: "POST"}); err != nil {
		return err
	}
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true})
}

func TestGRPCRefuseOddClients(t *testing.T) {
	pings := func(n int) func(f *http2.Framer) error {
		return func(f *http2.Framer) error {
			var errs []error
			for range n {
				errs = append(errs, f.WritePing(false, [8]byte{}))
			}
			return errors.Join(append(errs, call(f, 1))...)
		}
	}
	tests := []struct {
		name    string
		first   []byte
		refused bool
	}{
		{"pings first", http2Hello(t, pings(3)), true},
		{"pings without end", http2Hello(t, pings(2*http2Frames)), false},
		{"no call", http2Hello(t, func(*http2.Framer) error { return nil }), false},
		{"another protocol", []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), false},
		{"nothing", nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer, err := refusedBytes(t, spanner.Refuse, Refusal{Text: "why not"}, tt.first)
			if refused := bytes.Contains(answer, []byte("\x00")) && err == nil; refused != tt.refused {
				t.Errorf("answer %q, error %v", answer, err)
			}
		})
	}
}

func TestHTTP2Ping(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.Protocols = http2Only()
	srv.Start()
	t.Cleanup(srv.Close)
	pong, err := pingAddr(t, &spanner, Endpoint{}, srv.Listener.Addr().String())
	if err != nil || pong.RoundTrip <= 0 || pong.Version != "" || pong.Note == "" {
		t.Errorf("%+v, %v", pong, err)
	}
}

func TestHTTP2PingOddServers(t *testing.T) {
	frames := func(write func(f *http2.Framer) error) []byte {
		var b bytes.Buffer
		if err := write(http2.NewFramer(&b, nil)); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	tests := []struct {
		name   string
		answer []byte
		want   error
	}{
		{"HTTP/1", []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), nil}, // any error
		{"no settings", frames(func(f *http2.Framer) error { return f.WritePing(true, [8]byte{}) }), ErrNoHTTP2},
		{
			"sent away", frames(func(f *http2.Framer) error {
				return errors.Join(f.WriteSettings(), f.WriteGoAway(0, http2.ErrCodeNo, []byte("access denied")))
			}), ErrNoHTTP2,
		},
		{
			"anything but an answer", frames(func(f *http2.Framer) error {
				errs := []error{f.WriteSettings()}
				for range http2Frames {
					errs = append(errs, f.WriteSettingsAck())
				}
				return errors.Join(errs...)
			}), ErrNoHTTP2,
		},
		{"nothing", nil, io.EOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := serve(t, func(c net.Conn) {
				c.Write(tt.answer)
				c.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, c)
			})
			pong, err := pingAddr(t, &spanner, Endpoint{}, addr)
			if err == nil || !errors.Is(err, tt.want) && tt.want != nil {
				t.Errorf("%+v, %v, want %v", pong, err, tt.want)
			}
		})
	}
}

func FuzzGRPCRefuse(f *testing.F) {
	f.Add(http2Hello(f, func(f *http2.Framer) error { return call(f, 1) }))
	f.Add(http2Hello(f, func(f *http2.Framer) error { return f.WritePing(false, [8]byte{1}) }))
	f.Fuzz(func(t *testing.T, first []byte) {
		answer, err := refusedBytes(t, spanner.Refuse, Refusal{Text: advice}, first)
		if err == nil && len(answer) == 0 {
			t.Fatal("neither an answer nor an error")
		}
	})
}
