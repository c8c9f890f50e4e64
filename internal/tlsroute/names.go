package tlsroute

import (
	"encoding/base64"
	"encoding/hex"
	"net"
	"slices"
	"strings"

	"tshx/internal/upgrade"
)

// ALPN names of the access proxy (docs/protocol.md, "Names").
const (
	ALPNSSH           = "teleport-proxy-ssh"
	ALPNSSHGRPC       = "teleport-proxy-ssh-grpc"
	ALPNReverseTunnel = upgrade.TestProtocol // "teleport-reversetunnel"
	ALPNAuthPrefix    = "teleport-auth@"
	ALPNGRPC          = "teleport-proxy-grpc"
	ALPNGRPCMTLS      = "teleport-proxy-grpc-mtls"
	ALPNHTTP1         = "http/1.1"
	ALPNHTTP2         = "h2"
	ALPNTCP           = "teleport-tcp"
	ALPNACME          = "acme-tls/1"

	ALPNPostgres      = "teleport-postgres" // CockroachDB too
	ALPNMySQL         = "teleport-mysql"    // MariaDB too
	ALPNMongoDB       = "teleport-mongodb"
	ALPNOracle        = "teleport-oracle"
	ALPNRedis         = "teleport-redis"
	ALPNSQLServer     = "teleport-sqlserver"
	ALPNSnowflake     = "teleport-snowflake"
	ALPNCassandra     = "teleport-cassandra"
	ALPNElasticsearch = "teleport-elasticsearch"
	ALPNOpenSearch    = "teleport-opensearch"
	ALPNDynamoDB      = "teleport-dynamodb"
	ALPNClickHouse    = "teleport-clickhouse" // native and HTTP
	ALPNSpanner       = "teleport-spanner"
)

// pingSuffix marks the variant of a name whose stream is wrapped in ping
// framing (docs/protocol.md, "Ping framing").
const pingSuffix = "-ping"

// mysqlVersionPrefix is followed by the standard base64 of a server version.
const mysqlVersionPrefix = ALPNMySQL + "-"

// maxALPN is the longest protocol name that fits its one-byte length
// (RFC 7301, section 3.1).
const maxALPN = 255

// KubePrefix is the SNI label that routes to Kubernetes, KubeLegacyPrefix another
// that old proxies knew; KubeFallback stands in where the proxy's host is unknown or
// an IP address.
const (
	KubePrefix       = "kube-teleport-proxy-alpn."
	KubeLegacyPrefix = "kube."
	KubeFallback     = KubePrefix + AuthDomain
	// AuthDomain is in every host certificate, below a wildcard too.
	AuthDomain = "teleport.cluster.local"
)

// plainDB lists the database names whose clients negotiate TLS inside their own
// protocol or not at all, so that the proxy does no second handshake.
var plainDB = []string{ALPNPostgres, ALPNMySQL}

// innerTLSDB lists the database names for which a client without a database
// certificate does a second TLS handshake inside the first.
var innerTLSDB = []string{
	ALPNMongoDB, ALPNOracle, ALPNRedis, ALPNSQLServer, ALPNSnowflake, ALPNCassandra,
	ALPNElasticsearch, ALPNOpenSearch, ALPNDynamoDB, ALPNClickHouse, ALPNSpanner,
}

// WithPing returns the ping variant of name.
func WithPing(name string) string { return name + pingSuffix }

// IsPing reports whether a negotiated name means ping framing.
func IsPing(name string) bool { return strings.HasSuffix(name, pingSuffix) }

// HasInnerTLS reports whether the proxy does a second TLS handshake inside the
// first for this name or its ping variant.
func HasInnerTLS(name string) bool {
	return slices.Contains(innerTLSDB, strings.TrimSuffix(name, pingSuffix))
}

// ServerProtocols is the list a proxy offers, most wanted first: the ping
// variants win whenever a client offers them, and http/1.1 precedes h2.
func ServerProtocols() []string {
	var list []string
	dbs := slices.Concat(plainDB, innerTLSDB)
	for _, n := range append(slices.Clone(dbs), ALPNTCP) {
		list = append(list, WithPing(n))
	}
	list = append(list, ALPNHTTP1, ALPNHTTP2, ALPNSSH, ALPNReverseTunnel, ALPNAuthPrefix,
		ALPNTCP, ALPNSSHGRPC, ALPNGRPC, ALPNGRPCMTLS)
	return append(list, dbs...)
}

// MySQLVersion returns the name that tells the proxy which version a MySQL
// server announces. It is never negotiated itself, so a client offers it
// beside ALPNMySQL.
func MySQLVersion(version string) string {
	name := mysqlVersionPrefix + base64.StdEncoding.EncodeToString([]byte(version))
	return name[:min(len(name), maxALPN)]
}

// ParseMySQLVersion returns the version carried in a name of MySQLVersion, and
// "" for any other name.
func ParseMySQLVersion(name string) string {
	enc, ok := strings.CutPrefix(name, mysqlVersionPrefix)
	if !ok || IsPing(name) {
		return ""
	}
	v, err := base64.StdEncoding.DecodeString(enc)
	if err != nil {
		return ""
	}
	return string(v)
}

// ClusterName returns the SNI of a root cluster's own endpoints. The cluster
// name is in hex because a wildcard certificate covers one label only.
func ClusterName(cluster string) string {
	return hex.EncodeToString([]byte(cluster)) + "." + AuthDomain
}

// KubeServerName returns the SNI that reaches Kubernetes behind the proxy at
// addr (host or host:port).
func KubeServerName(addr string) string {
	host := addr
	if h, _, err := net.SplitHostPort(addr); err == nil {
		host = h
	}
	if host == "" || net.ParseIP(host) != nil {
		return KubeFallback
	}
	return KubePrefix + host
}
