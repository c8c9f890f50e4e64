package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"slices"
	"strings"

	"tshx/internal/cloudproxy"
)

// azure has clients get tokens from an endpoint for managed identities that is
// known to nobody else. There are two, because az before 2.73 knows but the one and
// newer ones but the other (docs/protocol.md, "Azure and Google Cloud").
var azure = tokenCloud{
	name: cloudAzure, clients: "Azure clients", programs: []string{"az"}, host: "management.azure.com:443", bundle: "REQUESTS_CA_BUNDLE",
	open: func(env *Env, app cloudApp, cert func() (*tls.Certificate, error)) (cloudproxy.Cloud, func(*localCloud) ([]variable, error), error) {
		secret := rand.Text()
		cloud := cloudproxy.NewAzure(cloudproxy.AzureOptions{Secret: secret, Identity: app.As, Certificate: cert, Now: env.Now})
		return cloud, func(p *localCloud) ([]variable, error) {
			return []variable{
				{"AZURE_CONFIG_DIR", p.keep},
				{"MSI_ENDPOINT", "https://" + cloudproxy.AzureMSIHost + "/" + secret},
				{"IDENTITY_ENDPOINT", "https://" + cloudproxy.AzureIdentityHost},
				{"IDENTITY_HEADER", secret},
				{"REQUESTS_CA_BUNDLE", p.ca},
				// What makes other endpoints and identities of these, or counts more.
				{"MSI_SECRET", ""}, {"IDENTITY_SERVER_THUMBPRINT", ""}, {"APPSETTING_WEBSITE_SITE_NAME", ""}, {"AZURE_CLIENT_SECRET", ""},
			}, nil
		}, nil
	},
}

type azCmd struct {
	Args []string `arg:"" optional:"" name:"args" help:"[--app NAME] comes first and is ours; the rest is az's."`
}

// Run runs az behind a local proxy, and ends with its exit code.
func (c *azCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	return g.runCloud(ctx, env, azure, "az", c.Args, azLogin)
}

// azLogin has az login sign in as the managed identity, whose tokens alone are good
// for the app, unless the user says otherwise. There is at least one argument.
func azLogin(args []string) []string {
	other := []string{"--identity", "-i", "--username", "-u", "--service-principal", "--use-device-code", "--help", "-h"}
	if args[0] != "login" || slices.ContainsFunc(args, func(a string) bool {
		name, _, _ := strings.Cut(a, "=")
		return slices.Contains(other, name)
	}) {
		return args
	}
	return slices.Insert(slices.Clone(args), 1, "--identity")
}
