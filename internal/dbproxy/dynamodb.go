package dbproxy

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"

	"tshx/internal/tlsroute"
)

var dynamodb = Engine{
	Protocol:   "dynamodb",
	Title:      "DynamoDB",
	Wire:       "HTTP",
	ALPN:       tlsroute.ALPNDynamoDB,
	TunnelOnly: true,
	Clients: []Client{{
		Program: "aws", Install: "Debian package awscli",
		// What to do, such as list-tables, comes behind.
		Args: func(e Endpoint) []string { return []string{"--endpoint-url", dynamoURL(e), "dynamodb"} },
		// Requests are signed anew behind the proxy, so that what the program
		// signs with is without meaning, but it must have something; and the
		// session token of a real login would be sent along.
		Env: func(e Endpoint) []string {
			return append(noProxyEnv(e),
				"AWS_ACCESS_KEY_ID=tshx", "AWS_SECRET_ACCESS_KEY=tshx", "AWS_SESSION_TOKEN=", "AWS_DEFAULT_REGION=us-east-1")
		},
	}},
	URL: dynamoURL,
	Env: func(e Endpoint) []string {
		return []string{"AWS_ENDPOINT_URL_DYNAMODB=" + dynamoURL(e), "AWS_ENDPOINT_URL_DYNAMODB_STREAMS=" + dynamoURL(e)}
	},
	Web:    true,
	Speaks: speaksHTTP,
	Refuse: func(client net.Conn, r Refusal) error { return refuseHTTP(client, r, dynamoShape) },
	Ping:   dynamoPing,
}

func dynamoURL(e Endpoint) string { return strings.TrimSuffix(httpURL(e), "/") }

const (
	dynamoJSON   = "application/x-amz-json-1.0"
	dynamoErrors = "com.amazonaws.dynamodb.v20120810#" // namespace of the types of errors
)

// dynamoShape is an error of the AWS JSON protocol. Its status is never of the
// 500s, which the AWS libraries repeat ten times for this service before they
// say anything.
func dynamoShape(_ *http.Request, r Refusal) httpAnswer {
	kind := "DatabaseUnreachableException"
	if r.Login || r.WebPage {
		kind = "AccessDeniedException"
	}
	status := http.StatusBadRequest
	if r.WebPage {
		status = http.StatusForbidden
	}
	a := jsonAnswer(status, dynamoJSON, map[string]any{"__type": dynamoErrors + kind, "message": r.Text})
	a.header.Set("X-Amzn-Errortype", kind)
	return a
}

// dynamoPing asks for at most one table name. Whoever signs, or does not, gets
// an answer that bears the mark of DynamoDB, but never a version.
func dynamoPing(ctx context.Context, c net.Conn, _ Endpoint) (Pong, error) {
	reply, err := askHTTP(ctx, c, http.MethodPost, "/", `{"Limit":1}`, http.Header{
		"Content-Type": {dynamoJSON}, "X-Amz-Target": {"DynamoDB_20120810.ListTables"},
	})
	if err != nil {
		return Pong{}, err
	}
	if reply.header.Get("X-Amzn-Requestid") == "" {
		return Pong{}, reply.unexpected("DynamoDB")
	}
	pong := Pong{RoundTrip: reply.took, Note: "DynamoDB tells no version"}
	if reply.status != http.StatusOK {
		var refused struct {
			Type string `json:"__type"`
		}
		json.Unmarshal(reply.body, &refused)
		_, kind, _ := strings.Cut(refused.Type, "#")
		pong.Note += "; it answers " + kind
	}
	return pong, nil
}
