package dbproxy

import (
	"net"
	"net/url"

	"tshx/internal/tlsroute"
)

var redis = Engine{
	Protocol:    "redis",
	Title:       "Redis",
	ALPN:        tlsroute.ALPNRedis,
	DefaultUser: "default",
	Clients:     []Client{{Program: "redis-cli", Install: "Debian package redis-tools", Args: redisArgs}},
	URL:         redisURL,
	Env:         tunnelURL("REDIS_URL", redisURL),
	Sockets:     anySocket,
	Speaks:      redisSpeaks,
	Refuse:      redisRefuse,
	Ping:        redisPing,
}

func redisArgs(e Endpoint) []string {
	args := []string{"-h", e.Host, "-p", e.Port}
	if e.Socket != "" {
		args = []string{"-s", e.Socket}
	}
	if e.Name != "" {
		args = append(args, "-n", e.Name)
	}
	if !e.Tunnel {
		args = append(args, "--tls", "--cacert", e.Files.CA, "--cert", e.Files.Cert, "--key", e.Files.Key)
		if e.Host != "" && e.Host != "localhost" && net.ParseIP(e.Host) == nil { // it sends no name by itself
			args = append(args, "--sni", e.Host)
		}
	}
	return args
}

// redisURL is the registered scheme, and for sockets the one that the common
// drivers share.
func redisURL(e Endpoint) string {
	u := &url.URL{Scheme: "redis", Host: e.Addr(), Path: "/" + e.Name}
	switch {
	case e.Socket != "":
		u = &url.URL{Scheme: "unix", Path: e.Socket}
		if e.Name != "" {
			u.RawQuery = "db=" + url.QueryEscape(e.Name)
		}
	case !e.Tunnel:
		u.Scheme = "rediss"
	}
	return u.String()
}
