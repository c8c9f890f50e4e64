package dbproxy

import (
	"net/url"

	"tshx/internal/tlsroute"
)

var redis = Engine{
	Protocol:    "redis",
	Title:       "Redis",
	ALPN:        tlsroute.ALPNRedis,
	DefaultUser: "default",
	Clients: []Client{{Program: "redis-cli", Install: "Debian package redis-tools", Args: func(e Endpoint) []string {
		args := []string{"-h", e.Host, "-p", e.Port}
		if e.Name != "" {
			args = append(args, "-n", e.Name)
		}
		if !e.Tunnel {
			args = append(args, "--tls", "--cacert", e.Files.CA, "--cert", e.Files.Cert, "--key", e.Files.Key)
		}
		return args
	}}},
	URL: func(e Endpoint) string {
		u := &url.URL{Scheme: "redis", Host: e.Addr(), Path: "/" + e.Name}
		if !e.Tunnel {
			u.Scheme = "rediss"
		}
		return u.String()
	},
}
