package lab

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"tshx/internal/balancer"
	"tshx/internal/profile"
	"tshx/internal/proxyserver"
	"tshx/internal/tlsroute"
)

// Config says what a lab consists of. The zero Config is a v17 cluster without
// backends; Demo returns one with built-in ones.
type Config struct {
	Cluster string `yaml:"cluster"` // empty: lab.example.com
	// Listen is the proxy's loopback host:port. Empty or port 0: a free port.
	Listen string `yaml:"listen"`
	// Behave is the release to imitate: v14 or v17 (the default).
	Behave string `yaml:"behave"`
	// KeyAlgorithm is for the keys of the cluster: rsa, ecdsa or ed25519. Empty:
	// rsa for v14, else ecdsa.
	KeyAlgorithm proxyserver.Algorithm `yaml:"key_algorithm"`
	User         string                `yaml:"user"`   // empty: alice
	Roles        []string              `yaml:"roles"`  // empty: access
	Logins       []string              `yaml:"logins"` // SSH principals; empty: root and the user
	// ProxyProtocol is on (each connection begins with a PROXY header, as those of a
	// balancer in front that sends one), off (none may) or empty (as they like).
	ProxyProtocol proxyserver.ProxyProtocol `yaml:"proxy_protocol"`
	// TrustForwardedFor takes the client's address from X-Forwarded-For.
	TrustForwardedFor bool          `yaml:"trust_x_forwarded_for"`
	PingInterval      time.Duration `yaml:"ping_interval"` // zero: 30s
	MySQLVersion      string        `yaml:"mysql_version"` // announced before the database is known

	Nodes     []Node     `yaml:"nodes"`
	Databases []Database `yaml:"databases"`
	Apps      []App      `yaml:"apps"`
	Kube      []Kube     `yaml:"kube"`
	// KubeUsers and KubeGroups are whom the user's certificates allow to be in a
	// Kubernetes cluster; "*" allows anybody. Nil: the user, in system:masters.
	KubeUsers  []string `yaml:"kube_users"`
	KubeGroups []string `yaml:"kube_groups"`

	// Balancer, if not nil, stands in front of the proxy on a port of its own.
	Balancer *Balancer `yaml:"balancer"`

	// Log gets what the parts of the lab have to say. Nil drops it.
	Log *slog.Logger `yaml:"-"`
}

// Node is an SSH server. Without an address it is built in.
type Node struct {
	Name string `yaml:"name"`
	Addr string `yaml:"addr"`
	// Agent: an agent serves it, and nothing here says where it is.
	Agent bool `yaml:"agent"`
}

// Database is a database server. Without an address it is built in, which only
// redis is.
type Database struct {
	Name     string `yaml:"name"`
	Protocol string `yaml:"protocol"`
	Addr     string `yaml:"addr"`     // host:port or unix:/path
	User     string `yaml:"user"`     // put into the certificate; may be empty
	Database string `yaml:"database"` // likewise
	// Agent: an agent serves it, and nothing here says where it is.
	Agent bool `yaml:"agent"`
}

// App is a TCP or HTTP service, or an account of a cloud. Without a host in its
// URI (tcp://, http://) it is built in: an echo, and a page.
type App struct {
	Name string `yaml:"name"`
	URI  string `yaml:"uri"` // of an AWS account: may be empty
	AWS  *AWS   `yaml:"aws"` // nil: no AWS account
	// Whom the user's certificate of the app lets it be in the cloud. Only AWS
	// accounts must have one, and have "arn:aws:iam::111122223333:role/lab" if it is
	// empty.
	AWSRole           string `yaml:"aws_role"` // ARN
	AzureIdentity     string `yaml:"azure_identity"`
	GCPServiceAccount string `yaml:"gcp_service_account"`
	// Agent: an agent serves it, and nothing here says where it is.
	Agent bool `yaml:"agent"`
}

// AWS is an account at Amazon, by the keys that requests are signed with, and
// what stands in place of Amazon; see proxyserver.AWS.
type AWS struct {
	AccessKeyID     string            `yaml:"access_key_id"`
	SecretAccessKey string            `yaml:"secret_access_key"`
	SessionToken    string            `yaml:"session_token"`
	Region          string            `yaml:"region"`
	Endpoints       map[string]string `yaml:"endpoints"` // URLs by service; "" for all others
}

// What an AWS account has where the Config leaves it out.
const (
	awsConsole = "https://console.aws.amazon.com"
	awsRole    = "arn:aws:iam::111122223333:role/lab"
)

// role is the ARN in the user's certificate of the app; empty if it is none of
// AWS.
func (a App) role() string {
	if a.AWS == nil {
		return a.AWSRole
	}
	return cmp.Or(a.AWSRole, awsRole)
}

// cloud is whose API the app is, where it is one but not of AWS.
func (a App) cloud() string {
	switch {
	case a.AzureIdentity != "":
		return "azure"
	case a.GCPServiceAccount != "":
		return "gcp"
	}
	return ""
}

// Kube is a Kubernetes cluster, reached as its administrator by a context of a
// kubeconfig. Without a kubeconfig it is built in, and has little to show.
type Kube struct {
	Name       string `yaml:"name"`
	Kubeconfig string `yaml:"kubeconfig"` // path
	Context    string `yaml:"context"`    // empty: the current one
	// Agent: an agent serves it, and nothing here says where it is.
	Agent bool `yaml:"agent"`
}

// Balancer is what stands in front of the proxy; see balancer.Options.
type Balancer struct {
	Listen          string            `yaml:"listen"` // empty or port 0: a free port
	L4              bool              `yaml:"l4"`
	ALPN            balancer.ALPN     `yaml:"alpn"`
	Upgrades        balancer.Upgrades `yaml:"upgrades"`
	Refuse          int               `yaml:"refuse"`
	Idle            time.Duration     `yaml:"idle"`
	TwoForwardedFor bool              `yaml:"two_x_forwarded_for"`
	ServerName      string            `yaml:"server"`
}

// Demo is a cluster with a node, a Redis, a TCP echo, a web page and a Kubernetes
// API, all built in.
func Demo() Config {
	return Config{
		Nodes:     []Node{{Name: "node1"}},
		Databases: []Database{{Name: "cache", Protocol: "redis", User: "default"}},
		Apps:      []App{{Name: "echo", URI: "tcp://"}, {Name: "hello", URI: "http://"}},
		Kube:      []Kube{{Name: "demo"}},
	}
}

// LoadConfig reads a Config from a YAML file. Unknown keys are errors; each
// error is one line that says where it is.
func LoadConfig(path string) (Config, error) { return load(path, parseConfig) }

func parseConfig(b []byte) (Config, error) {
	var c Config
	if err := decode(b, &c); err != nil {
		return Config{}, err
	}
	return c, c.check()
}

// load reads a file, which its errors name.
func load[C any](path string, parse func([]byte) (C, error)) (c C, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return c, err
	}
	if c, err = parse(b); err != nil {
		var none C
		return none, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// decode reads YAML without unknown keys.
func decode(b []byte, into any) error {
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return yamlError(err)
	}
	return nil
}

// yamlError makes one line of what the parser says, without the names of Go
// types.
func yamlError(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var types *yaml.TypeError
	if errors.As(err, &types) && len(types.Errors) > 0 {
		text = types.Errors[0]
	}
	text = regexp.MustCompile(`field (\S+) not found in type \S+`).ReplaceAllString(text, `unknown key "$1"`)
	text = regexp.MustCompile("cannot unmarshal !!\\S+ (`[^`]*` )?into (\\S+)").ReplaceAllString(text, "$1 is not what belongs here")
	return errors.New(strings.Join(strings.Fields(text), " "))
}

// check reports the first mistake of a Config.
func (c *Config) check() error {
	switch c.Behave {
	case "", "v14", "v17":
	default:
		return fmt.Errorf("behave: unknown release %q: use v14 or v17", c.Behave)
	}
	switch c.KeyAlgorithm {
	case "", proxyserver.RSA, proxyserver.ECDSA, proxyserver.Ed25519:
	default:
		return fmt.Errorf("key_algorithm: unknown %q: use rsa, ecdsa or ed25519", c.KeyAlgorithm)
	}
	if !c.ProxyProtocol.Valid() {
		return fmt.Errorf("proxy_protocol: unknown %q: use on or off, or leave it out", c.ProxyProtocol)
	}
	if err := checkListen("listen", c.Listen); err != nil {
		return err
	}
	for what, name := range map[string]string{"cluster": c.Cluster, "user": c.User} {
		if name != "" && profile.CheckName(what, name) != nil {
			return fmt.Errorf("%s: %q cannot be part of a file name", what, name)
		}
	}
	if c.Balancer != nil {
		if err := checkListen("balancer: listen", c.Balancer.Listen); err != nil {
			return err
		}
	}
	if err := c.checkAgents(false); err != nil {
		return err
	}
	return c.checkBackends()
}

func (c *Config) checkBackends() error {
	var seen []string
	name := func(kind, name string) error {
		if name == "" {
			return fmt.Errorf("%s without a name", kind)
		}
		if err := profile.CheckName(kind, name); err != nil {
			return err
		}
		key := kind + " " + name
		if slices.Contains(seen, key) {
			return fmt.Errorf("%s %q is there twice", kind, name)
		}
		seen = append(seen, key)
		return nil
	}
	for _, n := range c.Nodes {
		if err := errors.Join(name("node", n.Name), checkAddr("node "+n.Name, n.Addr)); err != nil {
			return firstError(err)
		}
	}
	for _, db := range c.Databases {
		if err := errors.Join(name("database", db.Name), checkDatabase(db)); err != nil {
			return firstError(err)
		}
	}
	for _, k := range c.Kube {
		if err := name("kube", k.Name); err != nil {
			return err
		}
		if k.Kubeconfig == "" && k.Context != "" {
			return fmt.Errorf("kube %q: a context needs a kubeconfig", k.Name)
		}
	}
	for _, a := range c.Apps {
		if err := errors.Join(name("app", a.Name), checkURI(a)); err != nil {
			return firstError(err)
		}
	}
	return nil
}

// firstError keeps a joined error to one line.
func firstError(err error) error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()[0]
	}
	return err
}

// checkListen wants loopback: a lab gives everybody who reaches it a shell.
func checkListen(what, addr string) error {
	if addr == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s: %q is no host:port", what, addr)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s: %q is not on loopback, and a lab is for this machine only", what, addr)
	}
	return nil
}

func checkAddr(what, addr string) error {
	if addr == "" || strings.HasPrefix(addr, "unix:/") {
		return nil
	}
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
		return fmt.Errorf("%s: %q is no host:port", what, addr)
	}
	return nil
}

func checkDatabase(db Database) error {
	known := slices.Contains([]string{"postgres", "cockroachdb", "mysql", "clickhouse-http"}, db.Protocol) || tlsroute.HasInnerTLS("teleport-"+db.Protocol)
	switch {
	case !known:
		return fmt.Errorf("database %q: unknown protocol %q", db.Name, db.Protocol)
	case db.Addr == "" && db.Protocol != "redis" && !db.Agent:
		return fmt.Errorf("database %q: needs an addr, for only redis is built in", db.Name)
	}
	return checkAddr("database "+db.Name, db.Addr)
}

func checkURI(a App) error {
	if a.AWS != nil {
		if a.AWS.AccessKeyID == "" || a.AWS.SecretAccessKey == "" {
			return fmt.Errorf("app %q: aws: needs an access_key_id and a secret_access_key", a.Name)
		}
		a.URI = cmp.Or(a.URI, awsConsole)
	}
	u, err := url.Parse(a.URI)
	if err != nil || !slices.Contains([]string{"tcp", "http", "https"}, u.Scheme) {
		return fmt.Errorf("app %q: uri %q is neither tcp:// nor http:// nor https://; tcp:// and http:// alone are built in", a.Name, a.URI)
	}
	if u.Scheme == "https" && u.Host == "" {
		return fmt.Errorf("app %q: uri %q needs a host", a.Name, a.URI)
	}
	if u.Scheme == "tcp" && u.Host != "" {
		return checkAddr("app "+a.Name, u.Host)
	}
	return nil
}
