//go:build linux

package integration

import (
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
)

func mysqlClients(t *testing.T, tr *transport, tunnel bool) {
	need(t, "mysql", "mariadb")
	mariadb.get(t)
	p := tr.start(t, append([]string{"proxy", "db", "my"}, mode(tunnel)...)...)
	const query = "select substring_index(current_user(), '@', 1), database(), length(repeat('x', 1000000))"
	t.Run("client", func(t *testing.T) {
		c := pasted(t, p.lineAfter("connect: "), "-N", "-e", query)
		if code := c.wait(); code != 0 || strings.TrimSpace(c.stdout.String()) != "alice\torders\t1000000" {
			t.Errorf("exit code %d, %q", code, c.stdout.String())
		}
	})
	t.Run("driver", func(t *testing.T) { mysqlDriver(t, p, tunnel) })
}

func mysqlDriver(t *testing.T, p *program, tunnel bool) {
	u, err := url.Parse(p.lineAfter("url: "))
	if err != nil {
		t.Fatal(err)
	}
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.DBName = "tcp", u.Host, u.User.Username(), strings.TrimPrefix(u.Path, "/")
	cfg.MaxAllowedPacket = 0 // ask the server
	if !tunnel {
		cfg.TLS = clientTLS(t, p)
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	const size = 4 << 20
	var got int
	if err := db.QueryRowContext(t.Context(), "select length(?)", strings.Repeat("x", size)).Scan(&got); err != nil || got != size {
		t.Errorf("sent %d bytes, the server saw %d: %v", size, got, err)
	}
	var text string
	if err := db.QueryRowContext(t.Context(), "select repeat('y', ?)", size).Scan(&text); err != nil || len(text) != size {
		t.Errorf("received %d bytes of %d: %v", len(text), size, err)
	}
}

// clientTLS is made of the files that `proxy db` prints in plain mode. The
// certificate of the server is verified in full.
func clientTLS(t testing.TB, p *program) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(p.lineAfter("cert_file="), p.lineAfter("key_file="))
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(p.lineAfter("ca_file="))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("ca_file holds no certificate")
	}
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}, ServerName: "localhost"}
}
