package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"slices"

	"tshx/internal/cloudproxy"
)

// azure has clients get tokens from an endpoint for managed identities that is
// known to nobody else (docs/protocol.md, "Azure and Google Cloud").
var azure = tokenCloud{
	name: cloudAzure, clients: "Azure clients", programs: []string{"az"}, host: "management.azure.com:443", bundle: "REQUESTS_CA_BUNDLE",
	open: func(env *Env, app cloudApp, cert func() (*tls.Certificate, error)) (cloudproxy.Cloud, func(*localCloud) ([]variable, error), error) {
		secret := rand.Text()
		cloud := cloudproxy.NewAzure(cloudproxy.AzureOptions{Secret: secret, Identity: app.As, Certificate: cert, Now: env.Now})
		return cloud, func(p *localCloud) ([]variable, error) {
			return []variable{
				{"AZURE_CONFIG_DIR", p.keep},
				{"MSI_ENDPOINT", "https://" + cloudproxy.AzureMSIHost + "/" + secret},
				{"REQUESTS_CA_BUNDLE", p.ca},
				// Other endpoints and identities, which count more.
				{"MSI_SECRET", ""}, {"IDENTITY_ENDPOINT", ""}, {"IDENTITY_HEADER", ""}, {"AZURE_CLIENT_SECRET", ""},
			}, nil
		}, nil
	},
}

type azCmd struct {
	Args []string `arg:"" optional:"" name:"args" help:"[--app NAME] comes first and is ours; the rest is az's."`
}

// Run runs az behind a local proxy, and ends with its exit code.
func (c *azCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	return g.runCloud(ctx, env, azure, "az", c.Args, func(args []string) []string {
		if slices.Equal(args, []string{"login"}) { // there is one way only
			return []string{"login", "--identity"}
		}
		return args
	})
}
