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
		return verdictOf("", err)
	}
	cfg.NextProtos = []string{TestProtocol}
	raw, err := t.dial(ctx)
	if err != nil {
		return verdictOf("", err)
	}
	defer raw.Close()
	tc := tls.Client(raw, cfg)
	err = tc.HandshakeContext(ctx)
	if err == nil {
		defer tc.Close()
	}
	return verdictOf(tc.ConnectionState().NegotiatedProtocol, err)
}

// verdictOf judges a test handshake by its error, or by the protocol that was
// negotiated without one.
func verdictOf(negotiated string, err error) Verdict {
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

// isAlert reports whether err is an alert of this number that the other side
// sent. crypto/tls reports it as a net.OpError around a number of an
// unexported type, so that only its value can be looked at.
func isAlert(err error, number uint64) bool {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" || op.Err == nil {
		return false
	}
	v := reflect.ValueOf(op.Err)
	return v.Kind() == reflect.Uint8 && v.Uint() == number
}

// isUnadvertised reports whether the server selected a protocol that was not
// offered. crypto/tls gives that error no type, so its text has to do; a test
// with a real handshake holds on to it.
func isUnadvertised(err error) bool {
	return err != nil && strings.Contains(err.Error(), "server selected unadvertised ALPN protocol")
}
