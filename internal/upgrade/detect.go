package upgrade

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"reflect"
	"strings"
)

// Test makes one TLS connection that offers only TestProtocol and tells from
// the answer whether an upgrade is needed: a proxy that is reached directly
// knows the name, a balancer that ends TLS does not. It takes at most
// TestTimeout, dial included, and leaves nothing open.
//
// Every failure other than the ones which show a balancer means "not
// required", a bad certificate too (docs/protocol.md, "Detection"). Such a
// verdict has EvidenceError and is not worth remembering.
func (t Target) Test(ctx context.Context) Verdict {
	ctx, cancel := context.WithTimeout(ctx, TestTimeout)
	defer cancel()
	cfg, err := t.outerTLS()
	if err != nil {
		return Judge("", err)
	}
	cfg.NextProtos = []string{TestProtocol}
	raw, err := t.dial(ctx)
	if err != nil {
		return Judge("", err)
	}
	defer raw.Close()
	tc := tls.Client(raw, cfg)
	err = tc.HandshakeContext(ctx)
	if err == nil {
		defer tc.Close()
	}
	return Judge(tc.ConnectionState().NegotiatedProtocol, err)
}

// Judge judges a test handshake by its error, or by the protocol that was
// negotiated without one.
func Judge(negotiated string, err error) Verdict {
	switch {
	case err == nil && negotiated == "":
		return Verdict{Required: true, Evidence: EvidenceNoALPN}
	case err == nil:
		return Verdict{Evidence: EvidenceNegotiated, Detail: negotiated}
	case isAlert(err, alertNoApplicationProtocol):
		return Verdict{Required: true, Evidence: EvidenceAlert, Detail: err.Error()}
	case isUnadvertised(err):
		return Verdict{Required: true, Evidence: EvidenceUnadvertised, Detail: err.Error()}
	}
	return Verdict{Evidence: EvidenceError, Detail: err.Error()}
}

// alertNoApplicationProtocol is an alert's number (RFC 7301, section 3.2).
const alertNoApplicationProtocol = 120

// Alert returns the number of the TLS alert that the other side sent, and
// whether err is one. crypto/tls reports it as a net.OpError around a number of
// an unexported type, so that only its value can be looked at.
func Alert(err error) (number uint8, ok bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" || op.Err == nil {
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return uint8(v.Uint()), true
}

func isAlert(err error, number uint8) bool {
	n, ok := Alert(err)
	return ok && n == number
}

// isUnadvertised reports whether the server selected a protocol that was not
// offered. crypto/tls gives that error no type, so its text has to do; a test
// with a real handshake holds on to it.
func isUnadvertised(err error) bool {
	return err != nil && strings.Contains(err.Error(), "server selected unadvertised ALPN protocol")
}
