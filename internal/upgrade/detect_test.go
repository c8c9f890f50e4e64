package upgrade

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// selectUnasked makes a tls.Server answer with proto whatever the client
// offers: the offer in hand aliases the parsed hello, while the transcript is
// made of the bytes that were sent.
func selectUnasked(cfg *tls.Config, proto string) *tls.Config {
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(hello.SupportedProtos) > 0 {
			hello.SupportedProtos[0] = proto
		}
		own := cfg.Clone()
		own.GetConfigForClient = nil
		own.NextProtos = []string{proto}
		return own, nil
	}
	return cfg
}

func TestDetect(t *testing.T) {
	versions := map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}
	for _, tc := range []struct {
		name     string
		server   func(cfg *tls.Config) *tls.Config
		client   func(t *Target)
		want     Verdict
		detailIn string
	}{
		{
			name: "proxy reached directly",
			server: func(cfg *tls.Config) *tls.Config {
				cfg.NextProtos = []string{"http/1.1", TestProtocol}
				return cfg
			},
			want: Verdict{Evidence: EvidenceNegotiated}, detailIn: TestProtocol,
		}, {
			name:   "balancer without ALPN",
			server: func(cfg *tls.Config) *tls.Config { return cfg },
			want:   Verdict{Required: true, Evidence: EvidenceNoALPN},
		}, {
			name: "balancer that knows other protocols",
			server: func(cfg *tls.Config) *tls.Config {
				cfg.NextProtos = []string{"h2", "http/1.1"}
				return cfg
			},
			want: Verdict{Required: true, Evidence: EvidenceAlert}, detailIn: "no application protocol",
		}, {
			name:   "balancer that selects http/1.1 unasked",
			server: func(cfg *tls.Config) *tls.Config { return selectUnasked(cfg, "http/1.1") },
			want:   Verdict{Required: true, Evidence: EvidenceUnadvertised}, detailIn: "unadvertised",
		}, {
			name:   "certificate of an unknown authority",
			server: func(cfg *tls.Config) *tls.Config { return cfg },
			client: func(t *Target) { t.Roots = nil },
			want:   Verdict{Evidence: EvidenceError}, detailIn: "certificate",
		}, {
			name:   "certificate of an unknown authority, insecure",
			server: func(cfg *tls.Config) *tls.Config { return cfg },
			client: func(t *Target) { t.Roots, t.Insecure = nil, true },
			want:   Verdict{Required: true, Evidence: EvidenceNoALPN},
		}, {
			name: "another alert",
			server: func(cfg *tls.Config) *tls.Config {
				cfg.Certificates = nil
				cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, io.EOF }
				return cfg
			},
			want: Verdict{Evidence: EvidenceError}, detailIn: "remote error",
		},
	} {
		for version, number := range versions {
			t.Run(tc.name+"/"+version, func(t *testing.T) {
				ln := listen(t)
				cfg := serverTLS()
				cfg.MinVersion, cfg.MaxVersion = number, number
				cfg = tc.server(cfg)
				script(t, ln, func(c net.Conn) {
					tc := tls.Server(c, cfg)
					if tc.Handshake() == nil {
						io.Copy(io.Discard, tc)
					}
				})
				tgt := target(ln)
				if tc.client != nil {
					tc.client(&tgt)
				}
				got := tgt.Test(t.Context())
				if got.Required != tc.want.Required || got.Evidence != tc.want.Evidence || !strings.Contains(got.Detail, tc.detailIn) {
					t.Errorf("got %+v, want %+v with %q", got, tc.want, tc.detailIn)
				}
			})
		}
	}
}

// TestHello looks at what a test connection and the outer connection send.
func TestHello(t *testing.T) {
	hellos := make(chan *tls.ClientHelloInfo, 1)
	cfg := serverTLS()
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		hellos <- hello
		return nil, nil
	}
	ln := listen(t)
	script(t, ln, func(c net.Conn) { tls.Server(c, cfg).Handshake() })
	_, pool := testCert()
	tgt := Target{Addr: "proxy.test:443", Roots: pool, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if network != "tcp" || addr != "proxy.test:443" {
			t.Errorf("dialled %s %s", network, addr)
		}
		return net.Dial("tcp", ln.Addr().String())
	}}

	tgt.Test(t.Context())
	if hello := <-hellos; hello.ServerName != "proxy.test" || len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != TestProtocol {
		t.Errorf("test connection: SNI %q, ALPN %q", hello.ServerName, hello.SupportedProtos)
	}
	tgt.Connect(t.Context(), ALPN, Legacy)
	if hello := <-hellos; hello.ServerName != "proxy.test" || len(hello.SupportedProtos) != 0 {
		t.Errorf("outer connection: SNI %q, ALPN %q", hello.ServerName, hello.SupportedProtos)
	}
}

func TestDetectFailures(t *testing.T) {
	t.Run("nobody listens", func(t *testing.T) {
		ln := listen(t)
		ln.Close()
		if got := target(ln).Test(t.Context()); got.Required || got.Evidence != EvidenceError || got.Detail == "" {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("closed without alert", func(t *testing.T) {
		ln := listen(t)
		script(t, ln, func(c net.Conn) { c.Read(make([]byte, 1)) })
		if got := target(ln).Test(t.Context()); got.Required || got.Evidence != EvidenceError {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("address without port", func(t *testing.T) {
		if got := (Target{Addr: "proxy.test"}).Test(t.Context()); got.Evidence != EvidenceError {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("hung", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			got := hungTarget().Test(t.Context())
			if got.Required || got.Evidence != EvidenceError || time.Since(start) != TestTimeout {
				t.Errorf("got %+v after %v", got, time.Since(start))
			}
		})
	})
}

// hungTarget takes all bytes and never answers. It works inside of synctest.
func hungTarget() Target {
	return Target{Addr: "proxy.test:443", Dial: func(context.Context, string, string) (net.Conn, error) {
		c, s := net.Pipe()
		go func() {
			defer s.Close()
			io.Copy(io.Discard, s)
		}()
		return c, nil
	}}
}
