package dbproxy

import (
	"context"
	"encoding/json"
	"net"
	"net/http"

	"tshx/internal/tlsroute"
)

const elasticsearchTitle, opensearchTitle = "Elasticsearch", "OpenSearch"

var elasticsearch = Engine{
	Protocol: "elasticsearch",
	Title:    elasticsearchTitle,
	Wire:     "HTTP",
	ALPN:     tlsroute.ALPNElasticsearch,
	Clients: []Client{
		{Program: "elasticsearch-sql-cli", Install: "in the bin directory of Elasticsearch", Is: plainTCP,
			Args: func(e Endpoint) []string { return []string{httpURL(e)} }},
		curl,
	},
	URL:     httpURL,
	Sockets: anySocket,
	Env:     tunnelURL("ELASTICSEARCH_URL", httpURL),
	Web:     true,
	Speaks:  speaksHTTP,
	Refuse:  func(client net.Conn, r Refusal) error { return refuseHTTP(client, r, elasticShape) },
	Ping: func(ctx context.Context, c net.Conn, _ Endpoint) (Pong, error) {
		return elasticPing(ctx, c, elasticsearchTitle)
	},
}

// elasticShape is the error of Elasticsearch's and OpenSearch's REST interface.
func elasticShape(_ *http.Request, r Refusal) httpAnswer {
	kind := "connect_transport_exception"
	if r.Login || r.WebPage {
		kind = "security_exception"
	}
	cause := map[string]any{"type": kind, "reason": r.Text}
	status := httpStatus(r, http.StatusBadGateway)
	return jsonAnswer(status, "application/json; charset=UTF-8", map[string]any{
		"error":  map[string]any{"root_cause": []any{cause}, "type": kind, "reason": r.Text},
		"status": status,
	})
}

func elasticTitle(distribution string) string {
	if distribution == "opensearch" {
		return opensearchTitle
	}
	return elasticsearchTitle
}

// elasticPing reads the greeting of the root path, which both servers have.
func elasticPing(ctx context.Context, c net.Conn, title string) (Pong, error) {
	reply, err := askHTTP(ctx, c, http.MethodGet, "/", "", http.Header{"Accept": {"application/json"}})
	if err != nil {
		return Pong{}, err
	}
	pong := Pong{RoundTrip: reply.took}
	if reply.status == http.StatusUnauthorized {
		pong.Note = "the server wants a login"
		return pong, nil
	}
	var greeting struct {
		Name    string `json:"name"`
		Version struct {
			Number       string `json:"number"`
			Distribution string `json:"distribution"` // OpenSearch only
		} `json:"version"`
	}
	if json.Unmarshal(reply.body, &greeting) != nil || greeting.Version.Number == "" {
		return Pong{}, reply.unexpected(title)
	}
	pong.Version = greeting.Version.Number
	if is := elasticTitle(greeting.Version.Distribution); is != title {
		pong.Version = is + " " + pong.Version
	}
	if greeting.Name != "" {
		pong.Note = "node " + greeting.Name
	}
	return pong, nil
}
