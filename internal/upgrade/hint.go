package upgrade

import (
	"fmt"
	"net/http"
	"strings"
)

// Hint says in one line what to change, and where: on the proxy, on the
// balancer in front of it, or in the environment.
func (e *RefusedError) Hint() string {
	switch s := e.Status; {
	case s == http.StatusBadRequest && strings.Contains(e.Body, "X-Forwarded-For"):
		return "let the balancer send one X-Forwarded-For header with one address"
	case e.HeaderDropped():
		return headerAdvice + balancerAdvice(e.Server)
	case s == http.StatusNotFound && e.Proxy && e.Method == Legacy:
		return "the proxy knows no legacy upgrade: unset " + EnvMethod
	case s == http.StatusNotFound && e.Proxy:
		return "the proxy knows no WebSocket upgrade: set " + EnvMethod + "=legacy, or update the proxy"
	case s == http.StatusNotFound:
		return "the balancer does not route " + Path + " to the proxy: route every path of this host to it"
	case s == http.StatusTooManyRequests:
		return "a rate limit was hit: wait, or raise the limit for " + Path + " on the proxy or the balancer"
	case s == http.StatusBadGateway, s == http.StatusServiceUnavailable, s == http.StatusGatewayTimeout:
		return "the balancer cannot reach the proxy: check that the proxy runs and that the balancer speaks TLS to it"
	case s == http.StatusUnauthorized, s >= 300 && s < 400:
		return "a gateway in front of the proxy wants a login of its own: exempt " + Path + " from it"
	case s == http.StatusSwitchingProtocols:
		return "something on the way changes the answer: let the balancer pass the Upgrade, Connection and Sec-WebSocket-* headers of " + Path + balancerAdvice(e.Server)
	case s < 300:
		return headerAdvice + balancerAdvice(e.Server)
	}
	return "allow WebSocket upgrades on " + Path + " at the balancer or the firewall in front of the proxy" + balancerAdvice(e.Server)
}

const headerAdvice = "the request arrived without its Upgrade header: let the balancer pass WebSocket on " + Path

// HeaderDropped reports whether the proxy itself says that it was asked for
// nothing: it repeats the upgrade types of the request, and the list is empty.
func (e *RefusedError) HeaderDropped() bool {
	return e.Status == http.StatusNotFound && e.Proxy && strings.HasSuffix(e.Body, "[]")
}

// Hint gives the advice for the refusal that says more: what the proxy itself
// says about one method means that the other one was stopped on the way.
func (e *AttemptsError) Hint() string {
	ws, ok1 := e.WebSocket.(*RefusedError)
	legacy, ok2 := e.Legacy.(*RefusedError)
	switch {
	case ok1 && ws.HeaderDropped():
		return ws.Hint()
	case ok1 && ok2 && ws.Proxy && legacy.Proxy && !legacy.HeaderDropped() && ws.Status == http.StatusNotFound && legacy.Status == http.StatusNotFound:
		return "the proxy knows no connection upgrade: it is too old"
	case ok1 && ok2 && ws.Proxy && (!legacy.Proxy || legacy.HeaderDropped()):
		return fmt.Sprintf("the proxy is too old for WebSocket and the balancer refuses other upgrades: update the proxy, or let \"Upgrade: %s\" pass on %s", legacy.Kind, Path)
	case ok1:
		return ws.Hint()
	case ok2:
		return legacy.Hint()
	}
	return ""
}

// balancerAdvice names the setting of a product known by its Server header.
func balancerAdvice(server string) string {
	s := strings.ToLower(server)
	for _, p := range []struct{ name, advice string }{
		{"nginx", `nginx: proxy_http_version 1.1, proxy_set_header Upgrade $http_upgrade, proxy_set_header Connection "upgrade"`},
		{"openresty", `OpenResty: proxy_http_version 1.1, proxy_set_header Upgrade $http_upgrade, proxy_set_header Connection "upgrade"`},
		{"awselb", "AWS: an HTTPS target group of protocol version HTTP1 passes WebSocket; check listener and WAF rules"},
		{"cloudflare", "Cloudflare: turn on WebSockets under Network; check WAF and Access rules"},
		{"google", "Google Cloud: check Cloud Armor and IAP rules, and raise the backend's timeout"},
		{"gws", "Google Cloud: check Cloud Armor and IAP rules, and raise the backend's timeout"},
		{"haproxy", "HAProxy: check http-request rules, and set timeout tunnel"},
		{"envoy", "Envoy: upgrade_configs with upgrade_type websocket on the route"},
		{"apache", "Apache: mod_proxy_wstunnel, or ProxyPass with upgrade=websocket"},
		{"microsoft-azure", "Azure: check the gateway's WAF rules; its backend setting must use HTTPS"},
	} {
		if strings.Contains(s, p.name) {
			return " (" + p.advice + ")"
		}
	}
	return ""
}
