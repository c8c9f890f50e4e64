package survey

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"tshx/internal/plain"
	"tshx/internal/upgrade"
)

// protocolSSH is the route on which a proxy shows its host certificate without an
// upgrade (docs/protocol.md, "What the server does").
const protocolSSH = "teleport-proxy-ssh"

// hostName is in every host certificate of a proxy.
const hostName = "teleport.cluster.local"

// PlainHTTPError says that a server answered HTTP where TLS was to begin.
type PlainHTTPError struct {
	Addr string
}

func (e *PlainHTTPError) Error() string { return e.Addr + " speaks plain HTTP, not TLS" }

// Hint says what to do.
func (e *PlainHTTPError) Hint() string { return "give the port of https" }

// handshake does TLS on a fresh connection, which the caller closes.
func (s *surveyor) handshake(ctx context.Context, hostCert bool, protocols ...string) (*tls.Conn, *Certificate, error) {
	raw, err := s.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	var cert *Certificate
	c := tls.Client(raw, s.clientTLS(hostCert, func(c *Certificate) { cert = c }, protocols...))
	if err := c.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, cert, s.plainHTTP(err)
	}
	return c, cert, nil
}

func (s *surveyor) plainHTTP(err error) error {
	var header tls.RecordHeaderError
	if errors.As(err, &header) && strings.HasPrefix(string(header.RecordHeader[:]), "HTTP/") {
		return &PlainHTTPError{Addr: s.Target.Addr}
	}
	return err
}

// tls is a handshake as those of upgrades are: without ALPN. One that fails because
// the server insists on ALPN leaves Report.Public nil.
func (s *surveyor) tls(ctx context.Context) finding {
	c, cert, err := s.handshake(ctx, false)
	if err != nil {
		return finding{err: err}
	}
	defer c.Close()
	s.note(func(r *Report) { r.Public = cert })
	f := finding{result: tls.VersionName(c.ConnectionState().Version) + ", " + cert.String()}
	switch {
	case cert.Verified:
		f.result += ", verified"
		f.proves = "the certificate is good for " + s.host
	case s.Target.Insecure:
		f.result += ", not verified: " + plain.Line(cert.Problem.Error(), 0)
		f.proves = "nothing about who answers: --insecure"
	default:
		f.err = cert.Problem
	}
	return f
}

// raw is the test connection of upgrade.Target.Test, on which it depends whether
// tshx asks for an upgrade.
func (s *surveyor) raw(ctx context.Context) finding {
	got, err := s.selected(ctx, upgrade.TestProtocol)
	v := upgrade.Judge(got, err)
	s.note(func(r *Report) { r.Raw = v })
	offered := "offered " + upgrade.TestProtocol
	switch v.Evidence {
	case upgrade.EvidenceNegotiated:
		return finding{result: offered + ", negotiated", proves: "the proxy itself ends TLS: no upgrade is needed"}
	case upgrade.EvidenceNoALPN:
		return finding{result: offered, err: errNotNegotiated,
			proves: "something in front of the proxy ends TLS and does not pass ALPN on: an upgrade is needed"}
	case upgrade.EvidenceAlert:
		return finding{result: offered, err: fmt.Errorf("alert 120: %w", err),
			proves: "something in front of the proxy ends TLS and knows other protocols only: an upgrade is needed"}
	case upgrade.EvidenceUnadvertised:
		return finding{result: offered, err: err,
			proves: "something in front of the proxy ends TLS and selects what was not offered: an upgrade is needed"}
	}
	return finding{result: offered, err: err, proves: "nothing: tshx would take it for a direct way"}
}

var errNotNegotiated = errors.New("no protocol negotiated")

// hostCertificate reaches the proxy's own certificate without an upgrade.
func (s *surveyor) hostCertificate(ctx context.Context) finding {
	c, cert, err := s.handshake(ctx, true, protocolSSH)
	if err != nil {
		return finding{err: err}
	}
	defer c.Close()
	return s.judgeHost(cert, "")
}

// judgeHost says what a host certificate proves.
func (s *surveyor) judgeHost(cert *Certificate, before string) finding {
	f := finding{result: before + "host certificate by " + cert.Issuer}
	switch {
	case cert.Problem != nil:
		f.err = cert.Problem
		return f
	case cert.Verified:
		f.result += ", verified by the login"
		f.proves = "TLS goes on to the proxy of your cluster"
	case !slices.Contains(cert.Names, hostName):
		f.err = errNoHostCert
		return f
	default:
		f.result += ", " + cert.fingerprint() + ", not verified: no login knows its CA"
		f.proves = "TLS goes on to a proxy of cluster " + cert.Issuer + ", if the certificate is genuine"
	}
	s.note(func(r *Report) {
		if r.Host == nil {
			r.Host = cert
		}
	})
	return f
}

var errNoHostCert = errors.New("the certificate is none of a proxy's host certificates")

// frontALPN offers what browsers do, which tells balancers apart.
func (s *surveyor) frontALPN(ctx context.Context) finding {
	both, err := s.selected(ctx, "h2", "http/1.1")
	if err != nil {
		return finding{result: "offered h2 and http/1.1", err: err}
	}
	alone, err := s.selected(ctx, "http/1.1")
	s.note(func(r *Report) { r.Front, r.FrontAlone = both, alone })
	result := fmt.Sprintf("of h2 and http/1.1 it selects %s, of http/1.1 alone %s", orNone(both), orNone(alone))
	switch {
	case err != nil:
		return finding{result: fmt.Sprintf("of h2 and http/1.1 it selects %s; offered http/1.1 alone", orNone(both)), err: err}
	case both == "":
		return finding{result: result, proves: "no ALPN there at all"}
	}
	return finding{result: result, proves: "browsers are given " + both}
}

func orNone(protocol string) string {
	if protocol == "" {
		return "none"
	}
	return protocol
}

func (s *surveyor) selected(ctx context.Context, protocols ...string) (string, error) {
	c, _, err := s.handshake(ctx, false, protocols...)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return plain.Line(c.ConnectionState().NegotiatedProtocol, maxName), nil
}

// closeWith closes c when ctx ends, so that nothing on it waits longer.
func closeWith(ctx context.Context, c net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.Close() })
}
