package proxyserver

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"tshx/internal/identity"
)

// A certificate that is pinned to an address is good there only, also where it is
// shown in the TLS of a database's own protocol.
func TestPinnedInProtocol(t *testing.T) {
	mysql := backend(t, fakeMySQL{version: "8.4.0", flags: mysqlOwn, plugin: nativePassword}.serve)
	f := start(t, Options{Databases: []Database{
		{Name: "orders", Protocol: "postgres", Addr: backend(t, echo)},
		{Name: "shop", Protocol: "mysql", Addr: mysql},
	}})
	pinned := func(id identity.Identity, ip string) *tls.Config {
		id.PinnedIP = ip
		return config(testAuthority().Host.Pool(), newUser(t).tls(id))
	}
	for _, tt := range []struct {
		ip string
		ok bool
	}{{"127.0.0.1", true}, {"203.0.113.9", false}} {
		t.Run("postgres/"+tt.ip, func(t *testing.T) {
			c := f.dial(nil, "teleport-postgres")
			ask(t, c, pgSSLRequest)
			inner := tls.Client(c, pinned(dbRoute("orders", "postgres"), tt.ip))
			inner.Write(pgStartup("alice"))
			inner.CloseWrite()
			if got := rest(inner); strings.Contains(got, "alice") != tt.ok {
				t.Errorf("got %q", got)
			}
		})
		t.Run("mysql/"+tt.ip, func(t *testing.T) {
			db := mysqlOpen(t, "secret", pinned(dbRoute("shop", "mysql"), tt.ip), func() net.Conn { return f.dial(nil, "teleport-mysql") })
			if err := db.PingContext(t.Context()); (err == nil) != tt.ok {
				t.Errorf("ping: %v", err)
			}
		})
	}
}
