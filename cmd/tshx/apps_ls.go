package main

import (
	"io"
	"time"

	"tshx/internal/profile"
)

type appsListCmd struct {
	Cluster string `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"List those of this cluster only."`
	Format  string `short:"f" enum:"text,json,yaml" default:"text" help:"Output format: text, json or yaml."`
}

// listedApp is one application in `apps ls`. The keys are stable, and those that
// tsh has too, some of them in `apps config`, mean the same.
type listedApp struct {
	Name              string     `json:"name" yaml:"name"`
	PublicAddr        string     `json:"public_addr" yaml:"public_addr"` // host that browsers know it by
	Cloud             *string    `json:"cloud" yaml:"cloud"`             // aws, azure or gcp: the API that it is; null for other apps
	AWSRoleARN        string     `json:"aws_role_arn,omitempty" yaml:"aws_role_arn,omitempty"`
	AzureIdentity     string     `json:"azure_identity,omitempty" yaml:"azure_identity,omitempty"`
	GCPServiceAccount string     `json:"gcp_service_account,omitempty" yaml:"gcp_service_account,omitempty"`
	Cluster           string     `json:"cluster" yaml:"cluster"`
	Expires           *time.Time `json:"expires" yaml:"expires"` // of the certificate; null if unknown
	Valid             bool       `json:"valid" yaml:"valid"`     // it can be used now

	cloud, as string
	problem   string
}

// Run lists the applications that there are certificates for, valid or not.
func (c *appsListCmd) Run(env *Env, g *Globals) error {
	certs, err := g.certificates(env, profile.KindApp, c.Cluster)
	if err != nil {
		return err
	}
	list := []listedApp{}
	for _, s := range certs {
		list = append(list, newListedApp(s))
	}
	if c.Format != "text" {
		return printFor(env.Stdout, c.Format, list)
	}
	if len(list) == 0 {
		say(env, "no certificate for an app; run: tsh apps login NAME")
		return nil
	}
	return listApps(env.Stdout, list, env.Now())
}

func newListedApp(s profile.CertStatus) listedApp {
	route := s.Identity.App
	a := listedApp{
		Name: s.Name, PublicAddr: route.PublicAddr, Cluster: s.Cluster, Valid: s.Err == nil,
		AWSRoleARN: route.AWSRoleARN, AzureIdentity: route.AzureIdentity, GCPServiceAccount: route.GCPServiceAccount,
	}
	if a.cloud, a.as = cloudRoute(route); a.cloud != "" {
		a.Cloud = &a.cloud
	}
	if !s.NotAfter.IsZero() {
		end := s.NotAfter.UTC()
		a.Expires = &end
	}
	if s.Err != nil {
		a.problem = s.Problem.String()
	}
	return a
}

func listApps(w io.Writer, list []listedApp, now time.Time) error {
	var t table
	t.row("NAME", "PUBLIC ADDRESS", "CLOUD", "AS", "CLUSTER", "TIME LEFT")
	for _, a := range list {
		left := a.problem
		if left == "" && a.Expires != nil {
			left = profile.RoundAge(a.Expires.Sub(now))
		}
		row := []string{a.Name, a.PublicAddr, a.cloud, a.as, a.Cluster, left}
		t.row(orDash(row)...)
	}
	return printText(w, t.String())
}
