package main

import (
	"io"
	"slices"
	"time"

	"tshx/internal/profile"
)

type dbListCmd struct {
	Cluster string `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"List those of this cluster only."`
	Format  string `short:"f" enum:"text,json,yaml" default:"text" help:"Output format: text, json or yaml."`
}

// listedDB is one database in `db ls`. The keys are stable.
type listedDB struct {
	Name     string     `json:"name" yaml:"name"`
	Protocol string     `json:"protocol" yaml:"protocol"`
	User     string     `json:"user,omitempty" yaml:"user,omitempty"`
	Database string     `json:"database,omitempty" yaml:"database,omitempty"`
	Cluster  string     `json:"cluster" yaml:"cluster"`
	Expires  *time.Time `json:"expires" yaml:"expires"` // of the certificate; null if unknown
	Valid    bool       `json:"valid" yaml:"valid"`     // it can be used now

	problem string
}

// Run lists the databases that there are certificates for, valid or not.
func (c *dbListCmd) Run(env *Env, g *Globals) error {
	certs, err := g.certificates(env, profile.KindDB, c.Cluster)
	if err != nil {
		return err
	}
	list := []listedDB{}
	for _, s := range certs {
		list = append(list, newListedDB(s))
	}
	if c.Format != "text" {
		return printFor(env.Stdout, c.Format, list)
	}
	if len(list) == 0 {
		say(env, "no certificate for a database; run: tsh db login NAME")
		return nil
	}
	return listText(env.Stdout, list, env.Now())
}

// certificates are those of a kind, in one cluster unless that is empty, valid or
// not.
func (g *Globals) certificates(env *Env, kind profile.Kind, cluster string) ([]profile.CertStatus, error) {
	p, err := g.profile(env)
	if err != nil {
		return nil, err
	}
	certs, err := p.Certificates()
	if err != nil && len(certs) == 0 {
		return nil, err
	}
	return slices.DeleteFunc(certs, func(s profile.CertStatus) bool {
		return s.Kind != kind || cluster != "" && s.Cluster != cluster
	}), nil
}

func newListedDB(s profile.CertStatus) listedDB {
	route := s.Identity.Database
	db := listedDB{Name: s.Name, Protocol: route.Protocol, User: route.User, Database: route.Name, Cluster: s.Cluster, Valid: s.Err == nil}
	if !s.NotAfter.IsZero() {
		end := s.NotAfter.UTC()
		db.Expires = &end
	}
	if s.Err != nil {
		db.problem = s.Problem.String()
	}
	return db
}

func listText(w io.Writer, list []listedDB, now time.Time) error {
	var t table
	t.row("NAME", "PROTOCOL", "USER", "DATABASE", "CLUSTER", "TIME LEFT")
	for _, db := range list {
		left := db.problem
		if left == "" && db.Expires != nil {
			left = profile.RoundAge(db.Expires.Sub(now))
		}
		row := []string{db.Name, db.Protocol, db.User, db.Database, db.Cluster, left}
		t.row(orDash(row)...)
	}
	return printText(w, t.String())
}
