// Package survey finds out what stands between us and an access proxy: it tries
// each way there on connections of its own, and says what that proves.
//
//	r := survey.Run(ctx, survey.Options{Target: target})
//	use := r.Use(survey.Wish{})
//
// It speaks as far as a TLS handshake with the proxy itself, shows no certificate
// and changes nothing. A public certificate that nobody vouches for is noted, and
// the survey goes on: what is behind it is worth knowing, and nothing secret is
// said. Which way tshx takes without a survey is package tlsroute's business.
package survey

import (
	"context"
	"crypto/x509"
	"net"
	"net/netip"
	"sync"
	"time"

	"tshx/internal/upgrade"
)

// Bounds of the checks. Those of the connection upgrades are package upgrade's.
const (
	dnsTimeout  = 5 * time.Second
	tcpTimeout  = 15 * time.Second // a forward proxy's part included
	tlsTimeout  = upgrade.TestTimeout
	httpTimeout = 10 * time.Second
	// innerTimeout is for the TLS handshake with the proxy, inside of an upgrade.
	innerTimeout = 10 * time.Second
	// pingTimeout is for the first ping, which proxies send after 30 s.
	pingTimeout = 45 * time.Second
	// patience is how long one request is waited for before the next is made: rate
	// limits want them one after another, hanging ones would take minutes so.
	patience = time.Second
)

// Options say what to look at.
type Options struct {
	// Target is the proxy's web address. Insecure says what Report.Use is to think of
	// a public certificate that is not trusted.
	Target upgrade.Target
	// HTTPProxy is through which forward proxy Target.Dial goes, without
	// credentials; empty for none. The name is left to it then.
	HTTPProxy string
	// HostCAs verify the proxy's host certificate. Nil: there is no login that could
	// know them, and the certificate is told as it is.
	HostCAs *x509.CertPool
	// WaitPing waits for the first ping on each upgrade that has one.
	WaitPing bool
	// Lookup finds the addresses of a name. Nil is the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Run makes the survey. It takes at most about a minute and a half, when nothing
// answers in time and pings are waited for; ending ctx ends it, and what was not done is Skipped.
func Run(ctx context.Context, o Options) *Report {
	s := &surveyor{Options: o}
	s.host, _, _ = net.SplitHostPort(o.Target.Addr) // the dial tells of a bad one
	s.report.insecure = o.Target.Insecure
	for _, name := range names(o.WaitPing) {
		s.report.Checks = append(s.report.Checks, Check{Name: name, Status: Skipped})
	}
	if s.do(ctx, DNS, dnsTimeout, s.dns) == Failed || s.do(ctx, TCP, tcpTimeout, s.tcp) != Passed {
		return &s.report
	}
	if s.do(ctx, TLS, tlsTimeout, s.tls); s.report.Public == nil {
		return &s.report // no TLS there
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if s.do(ctx, Raw, tlsTimeout, s.raw) == Passed {
			s.do(ctx, HostCertificate, tlsTimeout, s.hostCertificate)
		}
		s.do(ctx, FrontALPN, 2*tlsTimeout, s.frontALPN)
	})
	wg.Go(func() { s.requests(ctx) })
	wg.Wait()
	return &s.report
}

// requests makes those by HTTP, and then waits for pings.
func (s *surveyor) requests(ctx context.Context) {
	jobs := []func(){func() { s.do(ctx, HTTP, httpTimeout, s.http) }}
	var pings sync.WaitGroup
	for _, u := range upgrades {
		jobs = append(jobs, func() {
			passed := s.do(ctx, u.check, tcpTimeout+upgrade.HandshakeTimeout+innerTimeout, s.upgraded(u)) == Passed
			if passed && s.WaitPing && u.ping != "" {
				pings.Go(func() { s.do(ctx, u.ping, tcpTimeout+upgrade.HandshakeTimeout+pingTimeout, s.pinged(u)) })
			}
		})
	}
	staggered(ctx, jobs)
	pings.Wait()
}

// staggered runs the jobs one after another, but waits for none of them longer
// than patience before it starts the next. It returns when all have ended.
func staggered(ctx context.Context, jobs []func()) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, job := range jobs {
		if ctx.Err() != nil {
			return
		}
		done := make(chan struct{})
		wg.Go(func() { defer close(done); job() })
		timer := time.NewTimer(patience)
		select {
		case <-done:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// surveyor makes one survey.
type surveyor struct {
	Options
	host string

	mu     sync.Mutex // of report
	report Report
}

// finding is the outcome of one check; an error fails it.
type finding struct {
	result string // for people; may be empty with an error
	proves string
	err    error
}

// do runs one check, and notes what it found and how long it took.
func (s *surveyor) do(ctx context.Context, name string, within time.Duration, check func(context.Context) finding) Status {
	if ctx.Err() != nil {
		return Skipped
	}
	bound, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	began := time.Now()
	f := check(bound)
	c := Check{Name: name, Status: Passed, Result: f.result, Proves: f.proves, Err: f.err, Took: time.Since(began)}
	switch {
	case f.err != nil && ctx.Err() != nil:
		return Skipped // we were ended, not they
	case f.err != nil:
		c.Status = Failed
	case f.result == "":
		return Skipped
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.report.Check(name) = c
	return c.Status
}

// note changes the report.
func (s *surveyor) note(change func(*Report)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.report)
}
