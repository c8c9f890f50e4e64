package main

import (
	"crypto/tls"
	"fmt"
	"strings"

	"tshx/internal/plain"
	"tshx/internal/profile"
)

type appsLoginCmd struct {
	Cluster           string `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"Cluster of the application. Default: the profile's."`
	AWSRole           string `name:"aws-role" placeholder:"ARN|NAME" help:"Demand that the certificate is for this role."`
	AzureIdentity     string `placeholder:"ID|NAME" help:"Demand that the certificate is for this identity."`
	GCPServiceAccount string `name:"gcp-service-account" placeholder:"ADDRESS|NAME" help:"Demand that the certificate is for this account."`
	TargetPort        uint16 `name:"target-port" placeholder:"PORT" help:"Demand that the certificate is for this port of a TCP application with several."`
	Quiet             bool   `short:"q" help:"Print nothing if all is well."`
	Name              string `arg:"" help:"Name of the application in the cluster."`
}

// Run says how the app is used. The certificate must be there: only tsh gets one.
func (c *appsLoginCmd) Run(env *Env, g *Globals) error {
	a, err := g.openApp(env, c.Name, c.Cluster)
	if err != nil {
		return err
	}
	if err := c.demand(a); err != nil || c.Quiet {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "There is a certificate for %s in cluster %s, valid for %s.\n",
		a.title(), plain.Line(a.Cluster, 0), profile.RoundAge(a.Expires.Sub(env.Now())))
	cloud, as := cloudRoute(a.Route)
	if cloud != "" {
		fmt.Fprintf(&b, "%s: %s\n", cloud, plain.Copyable(as))
	}
	for _, line := range a.proxyLines() {
		fmt.Fprintf(&b, "connect: %s\n", plain.Copyable(line))
	}
	if cloud == "" && a.trouble() == "" {
		fmt.Fprintf(&b, "curl: %s\n", plain.Copyable(a.config(g).Curl))
	}
	return printText(env.Stdout, b.String())
}

// demand compares what the certificate is for with what was asked for.
func (c *appsLoginCmd) demand(a *app) error {
	for _, want := range []struct{ flag, value, has string }{
		{"aws-role", c.AWSRole, a.Route.AWSRoleARN},
		{"azure-identity", c.AzureIdentity, a.Route.AzureIdentity},
		{"gcp-service-account", c.GCPServiceAccount, a.Route.GCPServiceAccount},
	} {
		if want.value != "" && !sameAccount(want.value, want.has) {
			return &otherAccountError{a, "--" + want.flag, want.value, want.has}
		}
	}
	if c.TargetPort == 0 {
		return nil
	}
	read := func() (*tls.Certificate, error) { return a.AppCert(a.Name) }
	_, err := forTarget(c.TargetPort, a.title(), a.RenewCommand(profile.KindApp, a.Name), read)()
	return err
}

// sameAccount reports whether asked is has, or its short form, as tsh takes both:
// the last part of a role or an identity, or what is before the @.
func sameAccount(asked, has string) bool {
	local, _, mail := strings.Cut(has, "@")
	return asked == has || strings.HasSuffix(has, "/"+asked) || mail && asked == local
}

// otherAccountError says that the certificate of an app is for somebody else in
// the cloud.
type otherAccountError struct {
	app              *app
	flag, value, has string
}

func (e *otherAccountError) Error() string {
	if e.has == "" {
		return fmt.Sprintf("the certificate for %s is not for %s %s", e.app.title(), e.flag, e.value)
	}
	return fmt.Sprintf("the certificate for %s is for %s, not for %s %s", e.app.title(), e.has, e.flag, e.value)
}

// Hint is the command that gets the right one; only tsh can.
func (e *otherAccountError) Hint() string {
	renew := e.app.RenewCommand(profile.KindApp, e.app.Name)
	if e.app.IdentityFile != "" {
		return "run: " + renew
	}
	return "run: " + renew + " " + e.flag + "=" + quote(e.value)
}

// Unwrap makes it one of the login's own errors, for the exit code.
func (e *otherAccountError) Unwrap() error { return &profile.CertError{Problem: profile.Mismatch} }
