package survey

import (
	"errors"
	"fmt"
	"net/http"

	"tshx/internal/upgrade"
)

// Wish is what the environment demands.
type Wish struct {
	Upgrade *bool          // nil: as the test connection says
	Method  upgrade.Method // Auto: the better one that works
}

// Use is what tshx will do, by what was seen.
type Use struct {
	Works   bool
	Upgrade bool
	Method  upgrade.Method // of an upgrade that works
	Forced  bool           // the environment decides between raw and upgrade
	// Err says why nothing works; nil if something does.
	Err error
}

// Way names it: raw, websocket, legacy, or upgrade where none works.
func (u Use) Way() string {
	switch {
	case !u.Upgrade:
		return "raw"
	case u.Method != upgrade.Auto:
		return string(u.Method)
	}
	return "upgrade"
}

// Use tells what tshx will do.
func (r *Report) Use(w Wish) Use {
	u := Use{Upgrade: r.Raw.Required, Forced: w.Upgrade != nil}
	if u.Forced {
		u.Upgrade = *w.Upgrade
	}
	switch {
	case r.Public == nil:
		u.Err = r.firstError(DNS, TCP, TLS)
	case !r.Public.Verified && !r.insecure:
		// Not even the test connection gets through.
		u.Upgrade = u.Forced && u.Upgrade
		u.Err = r.Public.Problem
	case !u.Upgrade:
		u.Err = r.firstError(Raw)
		if host, ok := errors.AsType[*HostError](r.Check(HostCertificate).Err); ok && u.Err == nil {
			u.Err = host
		}
		u.Works = u.Err == nil
	default:
		u.Method, u.Err = r.method(w.Method)
		u.Works = u.Err == nil
	}
	return u
}

// Trusting is the same report for somebody who trusts the public certificate.
func (r *Report) Trusting() *Report {
	trusting := *r
	trusting.insecure = true
	return &trusting
}

// method picks the upgrade as upgrade.Target.Connect does: WebSocket, and legacy
// where the refusal of WebSocket says nothing about it.
func (r *Report) method(wish upgrade.Method) (upgrade.Method, error) {
	ws, legacy := r.firstError(WebSocketPing, WebSocket), r.firstError(LegacyPing, Legacy)
	switch {
	case wish == upgrade.Legacy:
		return onlyIf(upgrade.Legacy, legacy)
	case ws == nil:
		return upgrade.WebSocket, nil
	case !upgrade.MethodRefused(ws):
		return upgrade.Auto, ws
	case legacy == nil:
		return upgrade.Legacy, nil
	}
	return upgrade.Auto, &upgrade.AttemptsError{WebSocket: ws, Legacy: legacy}
}

func onlyIf(m upgrade.Method, err error) (upgrade.Method, error) {
	if err != nil {
		return upgrade.Auto, err
	}
	return m, nil
}

// firstError is the error of the first of these checks that has failed, or says
// that one was not made.
func (r *Report) firstError(names ...string) error {
	for _, name := range names {
		switch c := r.Check(name); c.Status {
		case Failed:
			return c.Err
		case Skipped:
			if name != DNS {
				return errNotTried
			}
		}
	}
	return nil
}

var errNotTried = errors.New("not tried")

// Between reports whether something ends TLS in front of the proxy.
func (r *Report) Between() bool {
	return r.Raw.Required && (r.Proxy != nil || r.Host != nil || r.Server != "")
}

// Evidence lists what was seen of a balancer, one sentence each.
func (r *Report) Evidence() []string {
	var list []string
	say := func(format string, a ...any) { list = append(list, fmt.Sprintf(format, a...)) }
	if server := r.ServerHeader(); server != "" {
		say("answers carry Server: %s, which the proxy does not send", server)
	}
	if r.Raw.Required && r.Host != nil {
		say("the certificate outside is by %s, the one inside of an upgrade by %s: TLS ends on the way", r.Public.Issuer, r.Host.Issuer)
	}
	if r.Raw.Required && r.Front != "" {
		say("browsers are given %s", r.Front)
	}
	for _, u := range upgrades {
		refused, ok := errors.AsType[*upgrade.RefusedError](r.Check(u.check).Err)
		if !ok {
			continue
		}
		name := fmt.Sprintf("the %s upgrade of type %s", u.method, u.kind)
		switch {
		case refused.HeaderDropped():
			say("%s reaches the proxy without its Upgrade header", name)
		case refused.Status == http.StatusSwitchingProtocols:
			say("the answer to %s is changed on the way: %s", name, refused.Reason)
		case !refused.Proxy:
			say("%s is answered %d, and not by the proxy", name, refused.Status)
		}
	}
	return list
}

// ServerHeader is that of the first answer that has one; empty for none.
func (r *Report) ServerHeader() string {
	if r.Server != "" {
		return r.Server
	}
	for _, u := range upgrades {
		if refused, ok := errors.AsType[*upgrade.RefusedError](r.Check(u.check).Err); ok && refused.Server != "" {
			return refused.Server
		}
	}
	return ""
}
