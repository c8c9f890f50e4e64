package tlsroute

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"sync"
	"time"
)

// maxSessions bounds how many kinds of connection a sessions remembers. A
// process has few routes; a renewed certificate makes the older kinds useless.
const maxSessions = 16

// sessions remembers TLS sessions, so that a later handshake can resume one
// (RFC 8446, section 2.2), which spares both sides the certificates and their
// signatures. They are kept in memory only: a session is a secret, and a
// process that dials once has no use for it.
//
// A server takes the client's identity from a resumed session, not from a
// certificate. So a session belongs to one kind of connection and is never
// offered on another: not after the client certificate or the trusted
// authorities have changed, nor for another name or other protocols. crypto/tls
// itself sees to it that the server's certificate is still valid, for the name
// and by the trusted authorities, and negotiates the ALPN anew.
type sessions struct {
	mu   sync.Mutex
	list []*sessionCache // the one used last is at the end
}

// sessionKind is what two connections must have in common to share a session.
type sessionKind struct {
	fingerprint fingerprint // of the client certificate
	name        string      // SNI
	alpn        string      // protoKey of what is offered
	layer       sessionLayer
	insecure    bool // the server's certificate is not verified
}

// sessionLayer is who is at the other end.
type sessionLayer uint8

const (
	layerRaw   sessionLayer = iota // the proxy, reached directly
	layerInner                     // the proxy, inside of an upgrade
	layerOuter                     // what ends the TLS around an upgrade
)

type sessionCache struct {
	kind  sessionKind
	roots *x509.CertPool // that verify the server; nil for the system's
	tls.ClientSessionCache

	mu       sync.Mutex
	verified time.Time         // when the server's certificate last was
	leaf     *x509.Certificate // that certificate
	resumed  int               // handshakes in a row
}

// reverify is how long a verification of the server's certificate is good for
// sessions that are resumed. It costs a fifth of such a handshake.
const reverify = time.Minute

// verify returns a VerifyConnection that calls check for each full handshake, and
// for a resumed one when that was not done lately: name and authorities are those
// of the first one, only the dates move on. crypto/tls does about the same where
// it verifies itself.
func (c *sessionCache) verify(check func(tls.ConnectionState) error) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		now := time.Now().Round(0) // a machine that slept has not verified
		c.mu.Lock()
		age := now.Sub(c.verified)
		fresh := c.leaf != nil && age >= 0 && age < reverify
		known := fresh && cs.DidResume && len(cs.PeerCertificates) > 0 && cs.PeerCertificates[0].Equal(c.leaf)
		c.mu.Unlock()
		if known {
			return nil
		}
		if err := check(cs); err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.verified, c.leaf = now, cs.PeerCertificates[0]
		return nil
	}
}

// cache returns the memory for connections of this kind, which roots verify.
func (s *sessions) cache(kind sessionKind, roots *x509.CertPool) *sessionCache {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.list, func(c *sessionCache) bool { return c.kind == kind })
	var c *sessionCache
	switch {
	case i >= 0:
		c = s.list[i]
		s.list = slices.Delete(s.list, i, i+1)
	case len(s.list) == maxSessions:
		s.list = slices.Delete(s.list, 0, 1)
	}
	if c == nil || !c.roots.Equal(roots) {
		// One server name, one session: the newest ticket is the best one.
		c = &sessionCache{kind: kind, roots: roots, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	}
	s.list = append(s.list, c)
	return c
}

// fingerprint identifies a client certificate with its chain; the zero value
// stands for none.
type fingerprint [sha256.Size]byte

func fingerprintOf(cert *tls.Certificate) (f fingerprint) {
	if cert == nil {
		return f
	}
	h := sha256.New()
	for _, der := range cert.Certificate {
		h.Write(der) // self-delimiting
	}
	h.Sum(f[:0])
	return f
}

// protoKey joins protocol names in such a way that no two lists come to the
// same.
func protoKey(names []string) string {
	var b []byte
	for _, n := range names {
		b = append(b, byte(len(n))) // as on the wire (RFC 7301, section 3.1)
		b = append(b, n...)
	}
	return string(b)
}
