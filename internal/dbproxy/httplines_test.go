package dbproxy

import "testing"

func TestElasticsearchLines(t *testing.T) {
	testLines(t, &elasticsearch, []lineTest{
		{
			"tunnel, its own program", Endpoint{Host: "127.0.0.1", Port: "9200", Tunnel: true, Has: installed("curl", "elasticsearch-sql-cli")},
			"elasticsearch-sql-cli http://127.0.0.1:9200/", "http://127.0.0.1:9200/", []string{"ELASTICSEARCH_URL=http://127.0.0.1:9200/"},
		},
		{
			"tunnel, curl", Endpoint{Host: "::1", Port: "9200", Tunnel: true, Has: installed("curl")},
			"curl -sS --fail-with-body --noproxy '*' 'http://[::1]:9200/'", "http://[::1]:9200/", []string{"ELASTICSEARCH_URL=http://[::1]:9200/"},
		},
		{
			"plain is for curl", Endpoint{Host: "localhost", Port: "1", Files: files, Has: installed("curl", "elasticsearch-sql-cli")},
			"curl -sS --fail-with-body --noproxy '*' --cacert '/home/a b/ca.pem' --cert '/c&d.pem' --key /k https://localhost:1/",
			"https://localhost:1/", []string{},
		},
		{
			"socket", Endpoint{Socket: "/run/es 1", Tunnel: true, Has: installed("curl", "elasticsearch-sql-cli")},
			"curl -sS --fail-with-body --noproxy '*' --unix-socket '/run/es 1' http://localhost/", "http+unix://%2Frun%2Fes%201/", nil,
		},
	})
}

func TestOpenSearchLines(t *testing.T) {
	testLines(t, &opensearch, []lineTest{
		{
			"tunnel", Endpoint{Host: "127.0.0.1", Port: "9200", Tunnel: true}, "opensearchsql http://127.0.0.1:9200/",
			"http://127.0.0.1:9200/", []string{"OPENSEARCH_URL=http://127.0.0.1:9200/"},
		},
		{
			"plain is for curl", Endpoint{Host: "localhost", Port: "1", Files: Files{"/ca", "/c", "/k"}, Has: installed("curl", "opensearchsql")},
			"curl -sS --fail-with-body --noproxy '*' --cacert /ca --cert /c --key /k https://localhost:1/",
			"https://localhost:1/", []string{},
		},
	})
}

func TestDynamoDBLines(t *testing.T) {
	testLines(t, &dynamodb, []lineTest{{
		"tunnel", Endpoint{Host: "127.0.0.1", Port: "8000", User: "ReadOnly", Tunnel: true},
		"aws --endpoint-url http://127.0.0.1:8000 dynamodb", "http://127.0.0.1:8000",
		[]string{"AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:8000", "AWS_ENDPOINT_URL_DYNAMODB_STREAMS=http://127.0.0.1:8000"},
	}})
}

func TestSnowflakeLines(t *testing.T) {
	testLines(t, &snowflake, []lineTest{{
		"tunnel", Endpoint{Host: "127.0.0.1", Port: "4000", User: "alice", Name: "SHOP", Tunnel: true},
		"snowsql -a teleport -h 127.0.0.1 -p 4000 -u alice -d SHOP",
		"jdbc:snowflake://127.0.0.1:4000/?account=teleport&db=SHOP&ssl=off&user=alice",
		[]string{
			"SNOWSQL_ACCOUNT=teleport", "SNOWSQL_HOST=127.0.0.1", "SNOWSQL_PORT=4000", "SNOWSQL_PROTOCOL=http",
			"SNOWSQL_PWD=tshx", "SNOWSQL_USER=alice", "SNOWSQL_DATABASE=SHOP",
		},
	}})
}

func TestClickHouseHTTPLines(t *testing.T) {
	testLines(t, &clickhouseHTTP, []lineTest{
		{
			"tunnel", Endpoint{Host: "127.0.0.1", Port: "8123", User: "alice", Name: "shop", Tunnel: true},
			"curl -sS --fail-with-body --noproxy '*' 'http://127.0.0.1:8123/?database=shop&query=SELECT+version%28%29&user=alice'",
			"http://127.0.0.1:8123/?database=shop&user=alice", []string{"CLICKHOUSE_URL=http://127.0.0.1:8123/?database=shop&user=alice"},
		},
		{
			"nobody", Endpoint{Host: "127.0.0.1", Port: "8123", Tunnel: true},
			"curl -sS --fail-with-body --noproxy '*' 'http://127.0.0.1:8123/?query=SELECT+version%28%29'", "http://127.0.0.1:8123/", []string{"CLICKHOUSE_URL=http://127.0.0.1:8123/"},
		},
	})
}
