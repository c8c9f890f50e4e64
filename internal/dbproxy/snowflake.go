package dbproxy

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/url"

	"tshx/internal/tlsroute"
)

// The proxy finds the account itself and accepts any password: the certificate
// is what counts. Clients insist on both.
const (
	snowflakeAccount  = "teleport"
	snowflakePassword = "tshx"
)

var snowflake = Engine{
	Protocol:   "snowflake",
	Title:      "Snowflake",
	Wire:       "HTTP",
	ALPN:       tlsroute.ALPNSnowflake,
	NeedsName:  true,
	TunnelOnly: true,
	Clients: []Client{{
		Program: "snowsql", Install: "SnowSQL installer of Snowflake",
		Args: func(e Endpoint) []string {
			args := []string{"-a", snowflakeAccount, "-h", e.Host, "-p", e.Port}
			if e.User != "" {
				args = append(args, "-u", e.User)
			}
			if e.Name != "" {
				args = append(args, "-d", e.Name)
			}
			return args
		},
		Env: func(e Endpoint) []string {
			return append(noProxyEnv(e), "SNOWSQL_PWD="+snowflakePassword, "SNOWSQL_PROTOCOL=http")
		},
	}},
	URL: func(e Endpoint) string {
		q := url.Values{"account": {snowflakeAccount}, "ssl": {"off"}}
		if e.User != "" {
			q.Set("user", e.User)
		}
		if e.Name != "" {
			q.Set("db", e.Name)
		}
		return "jdbc:snowflake://" + e.Addr() + "/?" + q.Encode()
	},
	Env: func(e Endpoint) []string {
		env := []string{"SNOWSQL_ACCOUNT=" + snowflakeAccount, "SNOWSQL_HOST=" + e.Host, "SNOWSQL_PORT=" + e.Port,
			"SNOWSQL_PROTOCOL=http", "SNOWSQL_PWD=" + snowflakePassword}
		if e.User != "" {
			env = append(env, "SNOWSQL_USER="+e.User)
		}
		if e.Name != "" {
			env = append(env, "SNOWSQL_DATABASE="+e.Name)
		}
		return env
	},
	Web:    true,
	Speaks: speaksHTTP,
	Refuse: func(client net.Conn, r Refusal) error { return refuseHTTP(client, r, snowflakeShape) },
	Ping:   snowflakePing,
}

// snowflakeShape is how Snowflake refuses a login: with status 200. Its drivers
// take every other status for a passing fault and try again for minutes. Web
// pages have none of these.
func snowflakeShape(_ *http.Request, r Refusal) httpAnswer {
	code := "390000"
	if r.Login {
		code = "390100" // incorrect user name or password
	}
	status := http.StatusOK
	if r.WebPage {
		status = http.StatusForbidden
	}
	return jsonAnswer(status, "application/json", map[string]any{
		"success": false, "code": code, "message": r.Text, "data": map[string]any{},
	})
}

// snowflakePing asks about a session without having one. Every answer of
// Snowflake has the same envelope; the version comes with a login only.
func snowflakePing(ctx context.Context, c net.Conn, _ Endpoint) (Pong, error) {
	reply, err := askHTTP(ctx, c, http.MethodPost, "/session/heartbeat", "{}", http.Header{
		"Accept": {"application/json"}, "Content-Type": {"application/json"},
	})
	if err != nil {
		return Pong{}, err
	}
	var envelope struct {
		Success *bool `json:"success"`
	}
	if json.Unmarshal(reply.body, &envelope) != nil || envelope.Success == nil {
		return Pong{}, reply.unexpected("Snowflake")
	}
	return Pong{RoundTrip: reply.took}, nil
}
