package upgrade

import (
	"errors"
	"strings"
	"testing"
)

func TestAttemptsHint(t *testing.T) {
	known := &RefusedError{Addr: "p:443", Kind: ALPN, Method: WebSocket, Status: 404, Proxy: true}
	forbidden := &RefusedError{Addr: "p:443", Kind: ALPN, Method: Legacy, Status: 403, Server: "openresty"}
	dropped := &RefusedError{Addr: "p:443", Kind: ALPN, Method: WebSocket, Status: 404, Proxy: true, Server: "nginx", Body: "unsupported upgrade types: []"}
	down := errors.New("down")
	for _, tc := range []struct {
		name       string
		ws, legacy error
		want       string
	}{
		{"old proxy behind a strict balancer", known, forbidden, `let "Upgrade: alpn" pass`},
		{"old proxy", known, &RefusedError{Method: Legacy, Status: 404, Proxy: true}, "too old"},
		{"header dropped by the balancer", dropped, dropped, "without its Upgrade header"},
		{"header dropped by the balancer, with the setting", dropped, dropped, "proxy_set_header Upgrade"},
		{"legacy not reached", known, down, EnvMethod + "=legacy"},
		{"WebSocket not reached", down, forbidden, "OpenResty"},
		{"none", down, down, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := (&AttemptsError{tc.ws, tc.legacy}).Hint()
			if !strings.Contains(got, tc.want) || (got == "") != (tc.want == "") {
				t.Errorf("got %q", got)
			}
		})
	}
}
