package main

import (
	"fmt"
	"strconv"
	"strings"

	"tshx/internal/plain"
)

type dbConfigCmd struct {
	dbFlags
	optionalDB
	Format string `short:"f" enum:"text,cmd,json,yaml" default:"text" help:"Output format: text, cmd (the command line of a client), json or yaml."`
}

// dbConfig is what `db config` prints. The keys are tsh's, and stable.
type dbConfig struct {
	Name     string `json:"name" yaml:"name"`
	Host     string `json:"host" yaml:"host"`
	Port     int    `json:"port" yaml:"port"`
	User     string `json:"user,omitempty" yaml:"user,omitempty"`
	Database string `json:"database,omitempty" yaml:"database,omitempty"`
	CA       string `json:"ca" yaml:"ca"`
	Cert     string `json:"cert" yaml:"cert"`
	Key      string `json:"key" yaml:"key"`
}

// Run prints where and how clients connect to the proxy by themselves.
func (c *dbConfigCmd) Run(env *Env, g *Globals) error {
	d, err := g.openDatabase(env, c.Name, c.Cluster, c.dbFlags)
	if err != nil {
		return err
	}
	at, err := d.direct(g)
	if err != nil {
		return err
	}
	if c.Format == "cmd" {
		return printText(env.Stdout, plain.Copyable(clientOf(d.Engine, at).line())+"\n")
	}
	port, _ := strconv.Atoi(at.Port)
	conf := dbConfig{
		Name: d.Name, Host: at.Host, Port: port, User: at.User, Database: at.Name,
		CA: at.Files.CA, Cert: at.Files.Cert, Key: at.Files.Key,
	}
	if c.Format != "text" {
		return printFor(env.Stdout, c.Format, conf)
	}
	return printText(env.Stdout, conf.text())
}

func (c *dbConfig) text() string {
	var t table
	for _, row := range [][2]string{
		{"Name", c.Name}, {"Host", c.Host}, {"Port", strconv.Itoa(c.Port)}, {"User", c.User}, {"Database", c.Database},
		{"CA", c.CA}, {"Cert", c.Cert}, {"Key", c.Key},
	} {
		if row[1] != "" {
			t.row(row[0]+":", row[1])
		}
	}
	return t.String()
}

type dbEnvCmd struct {
	dbFlags
	optionalDB
	Format string `short:"f" enum:"text,json,yaml" default:"text" help:"Output format: text (for a shell's eval), json or yaml."`
}

// noVariablesError says that the environment is not enough for an engine's
// programs.
type noVariablesError struct {
	d *database
}

func (e *noVariablesError) Error() string {
	return fmt.Sprintf("programs of %s take no certificate from the environment", e.d.Engine.Title)
}

// Hint names what there is instead.
func (e *noVariablesError) Hint() string {
	return fmt.Sprintf("use: tshx db config %s, or: %s -- COMMAND", quote(e.d.Name), e.d.proxyLine())
}

// Run prints the variables by which programs find the database.
func (c *dbEnvCmd) Run(env *Env, g *Globals) error {
	d, err := g.openDatabase(env, c.Name, c.Cluster, c.dbFlags)
	if err != nil {
		return err
	}
	at, err := d.direct(g)
	if err != nil {
		return err
	}
	var pairs []string
	if d.Engine.Env != nil {
		pairs = d.Engine.Env(at)
	}
	if len(pairs) == 0 {
		return &noVariablesError{d}
	}
	if c.Format != "text" {
		return printFor(env.Stdout, c.Format, variables(pairs))
	}
	var b strings.Builder
	for _, pair := range pairs {
		fmt.Fprintf(&b, "export %s\n", plain.Copyable(assignment(pair)))
	}
	return printText(env.Stdout, b.String())
}
