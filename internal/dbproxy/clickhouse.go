package dbproxy

import (
	"net/url"
	"slices"

	"tshx/internal/tlsroute"
)

var clickhouse = Engine{
	Protocol: "clickhouse",
	Title:    "ClickHouse",
	ALPN:     tlsroute.ALPNClickHouse,
	// Its programs verify by the CAs in a configuration file only.
	TunnelOnly: true,
	Clients: []Client{
		{Program: "clickhouse-client", Install: "Debian package clickhouse-client",
			Args: clickhouseArgs},
		{Program: "clickhouse", Install: "https://clickhouse.com/docs/install",
			Args: func(e Endpoint) []string { return append([]string{"client"}, clickhouseArgs(e)...) }},
	},
	URL: func(e Endpoint) string {
		u := &url.URL{Scheme: "clickhouse", Host: e.Addr(), Path: "/" + e.Name}
		if e.User != "" {
			u.User = url.User(e.User)
		}
		return u.String()
	},
	Env: func(e Endpoint) []string {
		env := []string{"CLICKHOUSE_HOST=" + e.Host, "CLICKHOUSE_PORT=" + e.Port}
		if e.User != "" {
			env = append(env, "CLICKHOUSE_USER="+e.User)
		}
		if e.Name != "" {
			env = append(env, "CLICKHOUSE_DATABASE="+e.Name)
		}
		return env
	},
	Speaks: speaksClickHouse,
	Refuse: refuseClickHouse,
	Ping:   clickhousePing,
}

// speaksClickHouse reports whether first begins a hello: its number, and the
// client's name with its length before it.
func speaksClickHouse(first []byte) bool {
	length := int(first[1])
	name := first[2:min(2+length, len(first))]
	return first[0] == clickhouseHello && length > 0 && length < 0x80 && !slices.ContainsFunc(name, func(b byte) bool { return b < ' ' || b > '~' })
}

func clickhouseArgs(e Endpoint) []string {
	args := []string{"--host", e.Host, "--port", e.Port}
	if e.User != "" {
		args = append(args, "--user", e.User)
	}
	if e.Name != "" {
		args = append(args, "--database", e.Name)
	}
	return args
}
