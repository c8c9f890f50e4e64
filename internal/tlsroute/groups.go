package tlsroute

import (
	"crypto/tls"
	"errors"

	"tshx/internal/upgrade"
)

// provenSessions is how many handshakes in a row must have resumed a session
// before one relies on it. Several proxies behind one address that do not know
// each other's sessions hardly come so far.
const provenSessions = 8

// errNotResumed ends a handshake that relied on a session in vain.
var errNotResumed = errors.New("the session was not resumed")

// classical returns the groups of a key exchange that holds as long as nobody
// has a quantum computer. Beside the post-quantum ones, which are preferred
// otherwise (ML-KEM), they take half the time and a tenth of the bytes.
//
// In a handshake that resumes a session they protect as well as those: its keys
// come from both the exchange and the session's secret (RFC 8446, section 7.1),
// so that who records it has to break the handshake that the session stems
// from, too, or to get at the proxy's ticket keys. A proxy that resumes nothing
// gets no such handshake.
func classical() []tls.CurveID {
	return []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}
}

// rely restricts cfg to the classical groups if enough handshakes were resumed
// of late, and has the handshake fail where that was wrong.
func (c *sessionCache) rely(cfg *tls.Config) {
	c.mu.Lock()
	relied := c.resumed >= provenSessions
	c.mu.Unlock()
	if relied {
		cfg.CurvePreferences = classical()
	}
	check := cfg.VerifyConnection
	// Called before the client says who it is, and so before all it has to say.
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		c.count(cs.DidResume)
		switch {
		case relied && !cs.DidResume:
			return errNotResumed
		case check != nil:
			return check(cs)
		}
		return nil
	}
}

// count notes the outcome of a handshake.
func (c *sessionCache) count(resumed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.resumed++; !resumed {
		c.resumed = 0
	}
}

// misled reports whether a handshake with cfg may have failed with err because
// it relied on a session: the proxy has forgotten it, or has none of the
// classical groups.
func misled(cfg *tls.Config, err error) bool {
	_, alert := upgrade.Alert(err)
	return cfg.CurvePreferences != nil && (alert || errors.Is(err, errNotResumed))
}
