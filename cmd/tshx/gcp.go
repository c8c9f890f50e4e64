package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"tshx/internal/cloudproxy"
	"tshx/internal/program"
)

// envGCPSecret is the variable by which users choose the token of a local proxy.
const envGCPSecret = "TELEPORT_GCLOUD_SECRET"

// gcp has clients show a secret as their access token (docs/protocol.md, "Azure and Google Cloud").
var gcp = tokenCloud{
	name: cloudGCP, clients: "Google Cloud clients", programs: []string{"gcloud", "gsutil"}, host: "storage.googleapis.com:443",
	bundle: "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
	open: func(env *Env, app cloudApp, _ func() (*tls.Certificate, error)) (cloudproxy.Cloud, func(*localCloud) ([]variable, error), error) {
		secret := env.Getenv(envGCPSecret)
		if secret == "" {
			secret = rand.Text()
		}
		if strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, nil, program.Usagef("%s has a character that no access token has", envGCPSecret)
		}
		return cloudproxy.NewGCP(cloudproxy.GCPOptions{Secret: secret}), func(p *localCloud) ([]variable, error) {
			boto, err := p.writeBoto()
			vars := []variable{
				{"CLOUDSDK_AUTH_ACCESS_TOKEN", secret},
				{"CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", p.ca},
				{"CLOUDSDK_CONFIG", filepath.Join(p.keep, "gcloud")},
				{"BOTO_CONFIG", boto},
				// Other credentials, which count more.
				{"CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", ""}, {"CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", ""},
				{"CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT", ""}, {"BOTO_PATH", ""},
			}
			// Where the user has one of these it counts more than gcloud's own.
			if env.Getenv("REQUESTS_CA_BUNDLE")+env.Getenv("CURL_CA_BUNDLE") != "" {
				vars = append(vars, variable{"REQUESTS_CA_BUNDLE", p.ca})
			}
			if project := gcpProject(app.As); project != "" {
				vars = append(vars, variable{"CLOUDSDK_CORE_PROJECT", project})
			}
			return vars, err
		}, nil
	},
}

// gcpProject is the project of a service account, by its address; empty if that
// does not say.
func gcpProject(account string) string {
	_, domain, _ := strings.Cut(account, "@")
	project, ok := strings.CutSuffix(domain, ".iam.gserviceaccount.com")
	if !ok {
		return ""
	}
	if project, domain, ok := strings.Cut(project, "."); ok { // of a domain's own
		return domain + ":" + project
	}
	return project
}

// writeBoto writes the configuration of gsutil, which knows neither gcloud's
// variable for CAs nor, in all versions, the one for the proxy. It sends no token.
func (p *localCloud) writeBoto() (path string, err error) {
	u, err := url.Parse(p.url)
	if err != nil {
		return "", err
	}
	path = filepath.Join(p.dir, "boto")
	text := fmt.Sprintf("[Boto]\nproxy = %s\nproxy_port = %s\nproxy_type = http\nproxy_rdns = True\nca_certificates_file = %s\nhttps_validate_certificates = True\n[GSUtil]\nstate_dir = %s\n",
		u.Hostname(), u.Port(), p.ca, filepath.Join(p.keep, "gsutil"))
	return path, os.WriteFile(path, []byte(text), 0o600)
}

type gcloudCmd struct {
	Args []string `arg:"" optional:"" name:"args" help:"[--app NAME] comes first and is ours; the rest is gcloud's."`
}

// Run runs gcloud behind a local proxy, and ends with its exit code.
func (c *gcloudCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	return g.runCloud(ctx, env, gcp, "gcloud", c.Args, nil)
}

type gsutilCmd struct {
	Args []string `arg:"" optional:"" name:"args" help:"[--app NAME] comes first and is ours; the rest is gsutil's."`
}

// Run runs gsutil behind a local proxy, and ends with its exit code.
func (c *gsutilCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	return g.runCloud(ctx, env, gcp, "gsutil", c.Args, nil)
}
