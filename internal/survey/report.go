package survey

import (
	"slices"
	"time"

	"tshx/internal/upgrade"
)

// Names of the checks, in the order of a Report. They are stable.
const (
	DNS             = "dns"
	TCP             = "tcp"
	TLS             = "tls"              // without ALPN
	Raw             = "raw"              // the proxy's protocol by ALPN: the test connection
	HostCertificate = "host_certificate" // reached raw; upgrades show their own
	FrontALPN       = "front_alpn"       // the protocols of browsers
	HTTP            = "http"             // GET /webapi/ping
	WebSocketPing   = "websocket_alpn_ping"
	WebSocket       = "websocket_alpn"
	LegacyPing      = "legacy_alpn_ping"
	Legacy          = "legacy_alpn"
	// The first ping on an upgrade, if it is to be waited for.
	WebSocketPinged = "websocket_ping"
	LegacyPinged    = "legacy_ping"
)

// upgradeCheck is one of the connection upgrades.
type upgradeCheck struct {
	check  string
	ping   string // the check that waits for a ping; empty for none
	method upgrade.Method
	kind   upgrade.Kind
}

// upgrades are in the order in which they are tried.
var upgrades = []upgradeCheck{
	{WebSocketPing, WebSocketPinged, upgrade.WebSocket, upgrade.ALPNPing},
	{WebSocket, "", upgrade.WebSocket, upgrade.ALPN},
	{LegacyPing, LegacyPinged, upgrade.Legacy, upgrade.ALPNPing},
	{Legacy, "", upgrade.Legacy, upgrade.ALPN},
}

func names(pings bool) []string {
	list := []string{DNS, TCP, TLS, Raw, HostCertificate, FrontALPN, HTTP, WebSocketPing, WebSocket, LegacyPing, Legacy}
	if pings {
		list = append(list, WebSocketPinged, LegacyPinged)
	}
	return list
}

// Status is how a check went.
type Status string

const (
	Passed  Status = "passed"
	Failed  Status = "failed"
	Skipped Status = "skipped" // not tried, for want of what it stands on
)

// Check is one thing that was tried. Its texts come from the network in part, and
// are cleaned for a terminal but for Err.
type Check struct {
	Name   string
	Status Status
	Took   time.Duration // zero if skipped
	Result string        // what was seen; empty if skipped
	Proves string        // what follows from it; may be empty
	Err    error         // of a failed one
}

// Report is what a survey has found.
type Report struct {
	Checks []Check
	Public *Certificate // of the TLS server at the address; nil if there is none
	Host   *Certificate // of the proxy itself; nil if it was not reached
	Proxy  *Proxy       // what the web API says; nil if there is none
	Server string       // the Server header, which only balancers send; empty for none
	// Raw is the verdict of the test connection.
	Raw upgrade.Verdict
	// Front holds the protocols that were selected when h2 and http/1.1 were offered,
	// and when http/1.1 was alone: empty for none.
	Front, FrontAlone string

	insecure bool
}

// Proxy is what an access proxy says about itself.
type Proxy struct {
	Version string
	Cluster string
}

// Check returns the check of this name, nil if there is none.
func (r *Report) Check(name string) *Check {
	i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &r.Checks[i]
}
