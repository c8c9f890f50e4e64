package profile

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"tshx/internal/plain"
)

// Config is the content of <proxy host>.yaml. Only the keys that matter here
// are named; others are ignored when read.
type Config struct {
	WebProxyAddr      string `yaml:"web_proxy_addr"`
	SSHProxyAddr      string `yaml:"ssh_proxy_addr,omitempty"`
	KubeProxyAddr     string `yaml:"kube_proxy_addr,omitempty"`
	PostgresProxyAddr string `yaml:"postgres_proxy_addr,omitempty"`
	MySQLProxyAddr    string `yaml:"mysql_proxy_addr,omitempty"`
	MongoProxyAddr    string `yaml:"mongo_proxy_addr,omitempty"`
	User              string `yaml:"user,omitempty"`
	Cluster           string `yaml:"cluster,omitempty"`
	TLSRoutingEnabled bool   `yaml:"tls_routing_enabled,omitempty"`
	// TLSRoutingConnUpgradeRequired is nil when the key is absent. Writers
	// leave out false, so that absent may mean "no" or "not known".
	TLSRoutingConnUpgradeRequired *bool  `yaml:"tls_routing_conn_upgrade_required,omitempty"`
	AuthConnector                 string `yaml:"auth_connector,omitempty"`
}

// Marshal is the file's content for c.
func (c Config) Marshal() ([]byte, error) { return yaml.Marshal(c) }

// parseConfig reads a Config. Its error is one line and begins with the line
// number in data.
func parseConfig(data []byte) (Config, error) {
	var c Config
	err := yaml.Unmarshal(data, &c)
	if err == nil {
		return c, nil
	}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var mistyped *yaml.TypeError
	if errors.As(err, &mistyped) && len(mistyped.Errors) > 0 {
		text = mistyped.Errors[0]
	}
	if !strings.HasPrefix(text, "line ") { // the parser leaves out the number of the first one
		text = "line 1: " + text
	}
	return Config{}, errors.New(plain.Line(text, 0))
}

// readConfig reads and checks the Config of one proxy.
func readConfig(path string) (Config, file, error) {
	f, err := readFile(path)
	if err != nil {
		return Config{}, f, err
	}
	c, err := parseConfig(f.data)
	if err != nil {
		return Config{}, f, fmt.Errorf("%s: %w", path, err)
	}
	for _, n := range []struct{ what, name string }{{"user", c.User}, {"cluster", c.Cluster}} {
		if n.name == "" {
			continue // that is for the caller to judge
		}
		if err := CheckName(n.what, n.name); err != nil {
			return Config{}, f, fmt.Errorf("%s: %w", path, err)
		}
	}
	return c, f, nil
}
