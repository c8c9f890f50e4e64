package survey

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// dns looks the name up, where that is our business.
func (s *surveyor) dns(ctx context.Context) finding {
	if _, err := netip.ParseAddr(s.host); err == nil || s.HTTPProxy != "" {
		return finding{} // there is nothing to look up, or the forward proxy does it
	}
	lookup := s.Lookup
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	addrs, err := lookup(ctx, s.host)
	if err != nil {
		return finding{err: err}
	}
	var list []string
	for _, a := range addrs {
		list = append(list, a.Unmap().String())
	}
	const most = 4
	if n := len(list); n > most {
		list = append(list[:most], fmt.Sprintf("and %d more", n-most))
	}
	return finding{result: strings.Join(list, ", "), proves: "the name exists"}
}

func (s *surveyor) dial(ctx context.Context) (net.Conn, error) {
	if s.Target.Dial != nil {
		return s.Target.Dial(ctx, "tcp", s.Target.Addr)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", s.Target.Addr)
}

func (s *surveyor) tcp(ctx context.Context) finding {
	c, err := s.dial(ctx)
	if err != nil {
		return finding{err: err}
	}
	defer c.Close()
	if s.HTTPProxy != "" {
		return finding{result: "connected through " + s.HTTPProxy, proves: "the HTTP proxy of the environment lets us through"}
	}
	return finding{result: "connected to " + c.RemoteAddr().String(), proves: "the port is open"}
}
