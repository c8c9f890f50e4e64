//go:build linux

package peer

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
)

// StartClickHouse runs a ClickHouse server that lets acct in from loopback
// without a password. Addr speaks the native protocol, Addrs[1] HTTP.
func StartClickHouse(acct Account) (*Server, error) {
	if err := FindAll("clickhouse-server"); err != nil {
		return nil, err
	}
	const system = "clickhouse"
	return blueprint{
		name: "clickhouse", user: system, ports: []int{0, 0},
		prepare: func(dir string) error {
			if err := own(filepath.Join(dir, "data"), system); err != nil {
				return err
			}
			_, err := write(dir, "users.xml", clickhouseUsers(acct), 0o644)
			return err
		},
		argv: func(dir string, addrs []string) ([]string, error) {
			config, err := write(dir, "config.xml", clickhouseConfig(dir, acct, addrs), 0o644)
			return []string{"clickhouse-server", "--config-file=" + config}, err
		},
		ready: func(ctx context.Context, addrs []string) error { return pingClickHouse(ctx, addrs, acct) },
	}.start()
}

// clickhouseConfig names only what has no default or would leave dir. The root
// element is the one that all versions know.
func clickhouseConfig(dir string, acct Account, addrs []string) string {
	return fmt.Sprintf(`<yandex>
<logger><level>warning</level><console>1</console></logger>
<listen_host>127.0.0.1</listen_host><tcp_port>%s</tcp_port><http_port>%s</http_port>
<path>%[3]s/</path><tmp_path>%[3]s/tmp/</tmp_path><user_files_path>%[3]s/files/</user_files_path>
<format_schema_path>%[3]s/formats/</format_schema_path>
<users_config>users.xml</users_config><default_profile>default</default_profile>
<default_database>%[4]s</default_database>
<mark_cache_size>67108864</mark_cache_size><keep_alive_timeout>60</keep_alive_timeout>
<timezone>UTC</timezone><mlock_executable>false</mlock_executable>
</yandex>
`, portOf(addrs[0]), portOf(addrs[1]), filepath.Join(dir, "data"), escapeXML(acct.Database))
}

func clickhouseUsers(acct Account) string {
	return fmt.Sprintf(`<yandex>
<profiles><default><max_memory_usage>1000000000</max_memory_usage></default></profiles>
<quotas><default/></quotas>
<users><%[1]s><password></password><networks><ip>127.0.0.1</ip></networks>
<profile>default</profile><quota>default</quota></%[1]s></users>
</yandex>
`, acct.User)
}

func escapeXML(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // to memory
	return b.String()
}

// pingClickHouse asks for both ports and for the account.
func pingClickHouse(ctx context.Context, addrs []string, acct Account) error {
	if err := connects(ctx, addrs); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addrs[1]+"/?query=SELECT+1&user="+acct.User, nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return err
	}
	if string(text) != "1\n" {
		return fmt.Errorf("clickhouse answers %q", text)
	}
	return nil
}
