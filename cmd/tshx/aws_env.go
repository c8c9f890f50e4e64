package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tshx/internal/cloudproxy"
	"tshx/internal/program"
)

// localAWS is a local proxy for AWS, with the files that its clients need.
type localAWS struct {
	*cloudproxy.Proxy
	dir  string     // of the files
	ca   string     // file
	url  string     // of the proxy, or the endpoint
	keys []keyPair  // of each app
	vars []variable // for clients
}

type keyPair = cloudproxy.Keys

// The variables by which users choose the keys of a local proxy.
const (
	envAWSKey    = "TELEPORT_AWS_ACCESS_KEY_ID"
	envAWSSecret = "TELEPORT_AWS_SECRET_ACCESS_KEY"
)

// awsKeys makes a key pair for each of n apps, or takes that of the environment if
// there is one app.
func awsKeys(env *Env, n int) ([]keyPair, error) {
	id, secret := env.Getenv(envAWSKey), env.Getenv(envAWSSecret)
	if n == 1 && id+secret != "" {
		if id == "" || secret == "" {
			return nil, program.Usagef("%s and %s are set together, or neither is", envAWSKey, envAWSSecret)
		}
		if strings.ContainsFunc(id+secret, func(r rune) bool { return r <= ' ' || r == '/' && strings.ContainsRune(id, r) || r > '~' }) {
			return nil, program.Usagef("%s or %s has a character that no access key has", envAWSKey, envAWSSecret)
		}
		return []keyPair{{ID: id, Secret: secret}}, nil
	}
	keys := make([]keyPair, n)
	for i := range keys { // as long as those of AWS
		keys[i] = keyPair{ID: "TSHX" + rand.Text()[:16], Secret: rand.Text() + rand.Text()[:14]}
	}
	return keys, nil
}

// openAWS starts a proxy for apps behind a listener at addr, and writes the files
// for its clients. certs are those to show for each app; nil are the login's. The
// rest of o is the caller's. The caller closes it.
func (l *login) openAWS(env *Env, apps []cloudApp, addr net.Addr, certs []func() (*tls.Certificate, error), o cloudproxy.Options) (*localAWS, error) {
	keys, err := awsKeys(env, len(apps))
	if err != nil {
		return nil, err
	}
	a := &localAWS{keys: keys, url: proxyURL(addr)}
	if o.Endpoint {
		a.url = "https" + strings.TrimPrefix(a.url, "http")
		host, _ := hostPort(addr)
		o.Hosts = []string{"127.0.0.1", "::1", "localhost", host}
	}
	o.Cloud = cloudproxy.NewAWS(cloudproxy.AWSOptions{Keys: keys, Endpoint: o.Endpoint, Now: env.Now})
	if a.Proxy, err = l.newCloudProxy(env, apps, certs, o); err != nil {
		return nil, err
	}
	if err := a.prepare(env, apps, o.Endpoint); err != nil {
		a.Close()
		return nil, err
	}
	if !o.Endpoint {
		warnBypassed(env, "sts.amazonaws.com:443")
	}
	return a, nil
}

// Close ends the proxy and removes the files.
func (a *localAWS) Close() error {
	a.Proxy.Close()
	return a.remove()
}

// remove removes the files.
func (a *localAWS) remove() error {
	if a.dir == "" {
		return nil
	}
	return os.RemoveAll(a.dir)
}

// prepare writes the files and says what is in the environment of clients.
func (a *localAWS) prepare(env *Env, apps []cloudApp, endpoint bool) (err error) {
	if a.dir, err = privateDir(env, "aws"); err != nil {
		return err
	}
	a.ca = filepath.Join(a.dir, "ca.pem")
	if err := os.WriteFile(a.ca, a.CA(), 0o600); err != nil {
		return err
	}
	if len(apps) == 1 {
		a.vars = []variable{{"AWS_ACCESS_KEY_ID", a.keys[0].ID}, {"AWS_SECRET_ACCESS_KEY", a.keys[0].Secret}}
	} else if err := a.profiles(env, apps, endpoint); err != nil {
		return err
	}
	a.vars = append(a.vars, variable{"AWS_CA_BUNDLE", a.ca})
	if !endpoint {
		a.vars = append(a.vars, variable{"HTTPS_PROXY", a.url}, variable{"https_proxy", a.url})
		return nil
	}
	a.vars = append(a.vars, variable{"AWS_ENDPOINT_URL", a.url})
	if env.Getenv("HTTPS_PROXY")+env.Getenv("https_proxy") != "" { // which would be asked for loopback, too
		for _, name := range []string{"NO_PROXY", "no_proxy"} {
			a.vars = append(a.vars, variable{name, strings.TrimPrefix(env.Getenv(name)+",127.0.0.1,localhost", ",")})
		}
	}
	return nil
}

// profiles writes a configuration that has a profile for each app, named like it,
// with what the user has configured for it, or else as the default.
func (a *localAWS) profiles(env *Env, apps []cloudApp, endpoint bool) error {
	user := readAWSConfig(env)
	var config, creds bytes.Buffer
	for i, app := range apps {
		if strings.ContainsFunc(app.Name, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`[]'"#;\`, r) }) {
			return program.Usagef("%s: its name cannot be that of a profile; use it alone", app.title())
		}
		section := "profile " + app.Name
		settings, ok := user[section]
		if !ok {
			settings = user["default"]
		}
		fmt.Fprintf(&config, "[%s]\n%sca_bundle = %s\n", section, settings, a.ca)
		if endpoint {
			fmt.Fprintf(&config, "endpoint_url = %s\n", a.url)
		}
		fmt.Fprintf(&creds, "[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", app.Name, a.keys[i].ID, a.keys[i].Secret)
	}
	a.vars = []variable{
		{"AWS_CONFIG_FILE", filepath.Join(a.dir, "config")}, {"AWS_SHARED_CREDENTIALS_FILE", filepath.Join(a.dir, "credentials")},
		{"AWS_ACCESS_KEY_ID", ""}, {"AWS_SECRET_ACCESS_KEY", ""}, {"AWS_SESSION_TOKEN", ""},
	}
	for _, name := range []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} {
		if value := env.Getenv(name); value != "" && !slices.ContainsFunc(apps, func(a cloudApp) bool { return a.Name == value }) {
			a.vars = append(a.vars, variable{name, ""})
		}
	}
	if err := os.WriteFile(a.vars[0].Value, config.Bytes(), 0o600); err != nil {
		return err
	}
	return os.WriteFile(a.vars[1].Value, creds.Bytes(), 0o600)
}

// awsSettings are what of a user's profile says how to work, and not as whom.
var awsSettings = []string{
	"region", "output", "s3", "s3api", "retry_mode", "max_attempts", "sts_regional_endpoints", "defaults_mode",
	"cli_pager", "cli_timestamp_format", "cli_binary_format", "cli_auto_prompt", "cli_history",
}

// readAWSConfig returns those settings by section, as lines. There are none where
// the file cannot be read.
func readAWSConfig(env *Env) map[string]string {
	path := env.Getenv("AWS_CONFIG_FILE")
	if path == "" {
		path = filepath.Join(env.home(), ".aws", "config")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		env.Log.Debug("no AWS configuration of the user's", "err", err)
		return nil
	}
	return parseAWSConfig(text)
}

func parseAWSConfig(text []byte) map[string]string {
	sections := map[string]string{}
	section, taken := "", false
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := strings.TrimRight(lines.Text(), " \t\r")
		switch name, _, ok := strings.Cut(line, "="); {
		case line == "" || line[0] == '#' || line[0] == ';':
			continue
		case line[0] == '[':
			section, taken = strings.Join(strings.Fields(strings.Trim(line, "[]")), " "), false
			sections[section] += ""
			continue
		case line[0] != ' ' && line[0] != '\t': // else it belongs to the line before
			taken = ok && section != "" && slices.Contains(awsSettings, strings.TrimSpace(name))
		}
		if taken {
			sections[section] += line + "\n"
		}
	}
	return sections
}

// athena are the settings of the drivers for Athena. placeholders are for people to
// fill in.
func (a *localAWS) athena(format string, addr net.Addr) string {
	host, port := hostPort(addr)
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	key := a.keys[0]
	var pairs [][2]string
	if format == formatAthenaODBC {
		pairs = [][2]string{
			{"AuthenticationType", "IAM Credentials"}, {"UID", key.ID}, {"PWD", key.Secret}, {"UseProxy", "1"}, {"ProxyScheme", "http"},
			{"ProxyHost", host}, {"ProxyPort", fmt.Sprint(port)}, {"TrustedCerts", a.ca},
		}
	} else {
		pairs = [][2]string{
			{"User", key.ID}, {"Password", key.Secret}, {"ProxyHost", host}, {"ProxyPort", fmt.Sprint(port)},
			{"TrustStore", "<keystore>"}, {"TrustStorePwd", "<its password>"},
		}
	}
	var b, line strings.Builder
	if format == formatAthenaJDBC {
		fmt.Fprintf(&b, "Have Java trust the proxy, for this run:\n  keytool -importcert -noprompt -alias tshx-aws -file %s -keystore <keystore>\n", quote(a.ca))
	}
	b.WriteString("Properties of the data source:\n")
	for _, p := range pairs {
		fmt.Fprintf(&b, "  %s = %s\n", p[0], p[1])
		fmt.Fprintf(&line, "%s=%s;", p[0], p[1])
	}
	if format == formatAthenaODBC {
		fmt.Fprintf(&b, "As a connection string:\n  DRIVER=Simba Amazon Athena ODBC Connector;%sAwsRegion=<region>;Workgroup=<workgroup>\n", line.String())
	} else {
		fmt.Fprintf(&b, "As a connection URL:\n  jdbc:awsathena://%sAwsRegion=<region>;Workgroup=<workgroup>\n", line.String())
	}
	return b.String()
}
