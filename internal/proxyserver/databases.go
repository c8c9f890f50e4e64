package proxyserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"tshx/internal/conn"
	"tshx/internal/identity"
	"tshx/internal/tlsroute"
)

// Database protocols with a front of their own; all others are carried as they
// are.
const (
	protoPostgres  = "postgres"
	protoCockroach = "cockroachdb"
	protoMySQL     = "mysql"
	protoSQLServer = "sqlserver"
)

// startupTimeout bounds what a client may take, in all, to say which database
// it wants and who it is.
const startupTimeout = 10 * time.Second

// database returns the backend that a certificate opens.
func (s *Server) database(id identity.Identity) (Database, error) {
	route := id.Database
	if !route.Present() {
		return Database{}, errors.New("the client certificate opens no database")
	}
	cluster := s.opts.Authority.Cluster
	if id.RouteToCluster != "" && id.RouteToCluster != cluster {
		return Database{}, fmt.Errorf("database %q is in cluster %q, this is %q", route.Service, id.RouteToCluster, cluster)
	}
	for _, db := range s.opts.Databases {
		if db.Name != route.Service {
			continue
		}
		if db.Protocol != route.Protocol {
			return db, fmt.Errorf("database %q speaks %s, the client certificate says %s", db.Name, db.Protocol, route.Protocol)
		}
		return db, nil
	}
	return Database{}, fmt.Errorf("%w: %q", ErrUnknownDatabase, route.Service)
}

// resource is the database as one to connect to. c is the client's address.
func (d Database) resource(c net.Addr) resource {
	return resource{Kind: kindDB, Name: d.Name, Addr: d.Addr, Client: c}
}

// serveDatabase serves clients whose TLS certificate already named the
// database, so that what they speak inside is not encrypted again.
func (s *Server) serveDatabase(ctx context.Context, c net.Conn, info tlsroute.Info) {
	db, err := s.database(info.Identity)
	if err != nil {
		c.Close()
		s.refused("db "+info.Identity.Database.Service, info.Client, err)
		return
	}
	var st conn.Stats
	switch db.Protocol {
	case protoPostgres, protoCockroach:
		st, err = s.postgres(ctx, c, info.Identity)
	case protoMySQL:
		st, err = s.mysqlTunnel(ctx, c, db)
	case protoSQLServer:
		st, err = s.sqlserver(ctx, c, db)
	default:
		st, err = s.pipe(ctx, c, db.resource(info.Client))
	}
	s.finished("db "+db.Name, info.Client, st, err)
}

// servePostgres serves clients that are to show their certificate in the TLS
// of the Postgres protocol.
func (s *Server) servePostgres(ctx context.Context, c net.Conn, info tlsroute.Info) {
	st, err := s.postgres(ctx, c, identity.Identity{})
	s.finished("db postgres", info.Client, st, err)
}

// serveMySQL is servePostgres for MySQL.
func (s *Server) serveMySQL(ctx context.Context, c net.Conn, info tlsroute.Info) {
	st, err := s.mysqlPlain(ctx, c, s.announcedVersion(info.Hello))
	s.finished("db mysql", info.Client, st, err)
}

// inProtocolTLS does the TLS handshake of a database protocol and returns what
// the client's certificate says.
func (s *Server) inProtocolTLS(ctx context.Context, c net.Conn) (*tls.Conn, identity.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, tlsroute.HandshakeTimeout)
	defer cancel()
	tc := tls.Server(c, s.clientTLS)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, identity.Identity{}, fmt.Errorf("tls handshake in the database protocol: %w", err)
	}
	id, err := identity.FromCertificate(tc.ConnectionState().PeerCertificates[0])
	if err != nil {
		return nil, id, fmt.Errorf("client certificate: %w", err)
	}
	return tc, id, tlsroute.Pinned(id, c.RemoteAddr())
}
