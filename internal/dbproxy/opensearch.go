package dbproxy

import (
	"context"
	"net"

	"tshx/internal/tlsroute"
)

var opensearch = Engine{
	Protocol: "opensearch",
	Title:    opensearchTitle,
	Wire:     "HTTP",
	ALPN:     tlsroute.ALPNOpenSearch,
	// opensearch-cli is not among them: it takes its address from a profile in
	// a file only.
	Clients: []Client{
		{Program: "opensearchsql", Install: "pip install opensearchsql", Is: plainTCP,
			Args: func(e Endpoint) []string { return []string{httpURL(e)} }},
		curl,
	},
	URL:     httpURL,
	Sockets: anySocket,
	Env:     tunnelURL("OPENSEARCH_URL", httpURL),
	Web:     true,
	Speaks:  speaksHTTP,
	Refuse:  func(client net.Conn, r Refusal) error { return refuseHTTP(client, r, elasticShape) },
	Ping: func(ctx context.Context, c net.Conn, _ Endpoint) (Pong, error) {
		return elasticPing(ctx, c, opensearchTitle)
	},
}
