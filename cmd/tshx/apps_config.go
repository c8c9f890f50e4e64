package main

import (
	"cmp"
	"fmt"
	"net"
	"strings"

	"tshx/internal/dbproxy"
	"tshx/internal/plain"
)

type appsConfigCmd struct {
	Cluster string `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"Cluster of the application. Default: the profile's."`
	Name    string `arg:"" optional:"" help:"Name of the application in the cluster. Default: the only one there is a certificate for."`
	Format  string `short:"f" enum:"text,uri,ca,cert,key,curl,json,yaml" default:"text" help:"Output format: text, uri, ca, cert, key (one of its values), curl (a command line), json or yaml."`
}

// appConfig is what `apps config` prints. The keys are tsh's, and stable.
type appConfig struct {
	Name              string `json:"name" yaml:"name"`
	URI               string `json:"uri" yaml:"uri"`   // by which the proxy serves it to browsers
	CA                string `json:"ca" yaml:"ca"`     // file: who vouches for the proxy there
	Cert              string `json:"cert" yaml:"cert"` // file
	Key               string `json:"key" yaml:"key"`   // file
	Curl              string `json:"curl" yaml:"curl"` // command line for a POSIX shell
	AWSRoleARN        string `json:"aws_role_arn,omitempty" yaml:"aws_role_arn,omitempty"`
	AzureIdentity     string `json:"azure_identity,omitempty" yaml:"azure_identity,omitempty"`
	GCPServiceAccount string `json:"gcp_service_account,omitempty" yaml:"gcp_service_account,omitempty"`
}

// Run prints what clients need that show the certificate themselves, and warns
// where that does not work.
func (c *appsConfigCmd) Run(env *Env, g *Globals) error {
	a, err := g.openApp(env, c.Name, c.Cluster)
	if err != nil {
		return err
	}
	if trouble := a.trouble(); trouble != "" {
		warn(env, "%s", trouble)
	}
	conf := a.config(g)
	switch c.Format {
	case formatJSON, formatYAML:
		return printFor(env.Stdout, c.Format, conf)
	case "text":
		return printText(env.Stdout, conf.text())
	}
	value := map[string]string{"uri": conf.URI, "ca": conf.CA, "cert": conf.Cert, "key": conf.Key, "curl": conf.Curl}[c.Format]
	return printText(env.Stdout, plain.Copyable(value)+"\n")
}

func (a *app) config(g *Globals) appConfig {
	c := appConfig{
		Name: a.Name, URI: a.uri(), CA: cmp.Or(publicCAs(g), a.Files.CA), Cert: a.Files.Cert, Key: a.Files.Key,
		AWSRoleARN: a.Route.AWSRoleARN, AzureIdentity: a.Route.AzureIdentity, GCPServiceAccount: a.Route.GCPServiceAccount,
	}
	args := []string{"curl"}
	switch {
	case g.Insecure:
		args = append(args, "--insecure")
	case g.CAFile != "":
		args = append(args, "--cacert", c.CA)
	}
	args = append(args, "--cert", curlCert.Replace(c.Cert), "--key", c.Key, c.URI)
	c.Curl = dbproxy.Quote(args)
	return c
}

// curlCert writes the name of a file for --cert of curl, to which what follows a
// colon is a passphrase.
var curlCert = strings.NewReplacer(`\`, `\\`, `:`, `\:`)

// uri is where the proxy serves the app: at its public address, on the port of
// its own.
func (a *app) uri() string {
	addr := a.Route.PublicAddr
	if _, _, err := net.SplitHostPort(addr); err != nil {
		if _, port, err := net.SplitHostPort(a.WebAddr); err == nil && port != "443" {
			addr = net.JoinHostPort(addr, port)
		}
	}
	return "https://" + addr
}

// trouble says why a client that shows the certificate itself does not get to
// the app, as far as that is known; empty if it does.
func (a *app) trouble() string {
	use := "; use: " + strings.Join(a.proxyLines(), ", or: ")
	if cloud, _ := cloudRoute(a.Route); cloud != "" {
		return fmt.Sprintf("%s is the API of a cloud (%s), which needs a local proxy%s", a.title(), cloud, use)
	}
	if way, known := a.finder.Known(); known && way.Upgrade {
		return fmt.Sprintf("clients cannot reach %s without a local proxy: something in front of the proxy ends TLS%s", a.title(), use)
	}
	return ""
}

func (c *appConfig) text() string {
	var t table
	for _, row := range [][2]string{
		{"Name", c.Name}, {"URI", c.URI}, {"CA", c.CA}, {"Cert", c.Cert}, {"Key", c.Key},
		{"AWS role", c.AWSRoleARN}, {"Azure identity", c.AzureIdentity}, {"GCP account", c.GCPServiceAccount},
	} {
		if row[1] != "" {
			t.row(row[0]+":", row[1])
		}
	}
	return t.String()
}
