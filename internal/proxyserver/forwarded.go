package proxyserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"tshx/internal/upgrade"
)

const headerForwardedFor = "X-Forwarded-For"

// forwardedFor replaces the client's address by that of X-Forwarded-For, in
// the request, its context and the stream of an upgrade, where the proxy is
// told to trust that header. More than one address is refused: it cannot be
// known which balancer put in which (docs/protocol.md, "Server half details").
// Inside of an upgrade the header is not looked at: no balancer sees into it, so
// that it can only be the client's own.
func (s *Server) forwardedFor(next http.Handler) http.Handler {
	if !s.opts.TrustForwardedFor {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		values := r.Header.Values(headerForwardedFor)
		if len(values) == 0 || insideUpgrade(r.Context()) {
			next.ServeHTTP(w, r)
			return
		}
		observed, _ := netip.ParseAddrPort(r.RemoteAddr) // zero if not IP
		client, err := parseForwardedFor(values, observed.Port())
		if err != nil {
			writeError(w, http.StatusBadRequest, err.Error())
			return
		}
		r = r.WithContext(withClientAddr(r.Context(), net.TCPAddrFromAddrPort(client)))
		r.RemoteAddr = client.String() // which upgrade.Handler gives its stream
		next.ServeHTTP(w, r)
	})
}

// parseForwardedFor returns the address in the header's values, with port if
// it has none of its own.
func parseForwardedFor(values []string, port uint16) (netip.AddrPort, error) {
	if len(values) != 1 || strings.Contains(values[0], ",") {
		return netip.AddrPort{}, errors.New("expected a single " + headerForwardedFor + " header with a single address")
	}
	v := strings.TrimSpace(values[0])
	if ap, err := netip.ParseAddrPort(v); err == nil {
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(v, "["), "]"))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%s: not an address: %q", headerForwardedFor, v)
	}
	return netip.AddrPortFrom(ip.Unmap(), port), nil
}

// tellClient has a backend know the client's address, in place of all that the
// client says itself about where it comes from and by whom. out is made in the
// context of the client's request.
func tellClient(out *http.Request) {
	for name := range out.Header {
		if name == "Forwarded" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-") {
			delete(out.Header, name)
		}
	}
	client := clientAddr(out.Context())
	if client == nil {
		return
	}
	if host, _, err := net.SplitHostPort(client.String()); err == nil {
		out.Header.Set(headerForwardedFor, host)
	}
}

type (
	clientAddrKey    struct{}
	insideUpgradeKey struct{}
)

// withClient returns the context of the requests that come by c.
func withClient(ctx context.Context, c net.Conn) context.Context {
	if upgrade.IsStream(c) {
		ctx = context.WithValue(ctx, insideUpgradeKey{}, true)
	}
	return withClientAddr(ctx, c.RemoteAddr())
}

func insideUpgrade(ctx context.Context) bool { return ctx.Value(insideUpgradeKey{}) != nil }

func withClientAddr(ctx context.Context, a net.Addr) context.Context {
	return context.WithValue(ctx, clientAddrKey{}, a)
}

// clientAddr returns where a web client connects from; nil outside of requests.
func clientAddr(ctx context.Context) net.Addr {
	a, _ := ctx.Value(clientAddrKey{}).(net.Addr)
	return a
}
