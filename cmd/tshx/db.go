package main

import (
	"encoding/json"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// dbCmd are the commands about databases other than the listener, which is
// `tshx proxy db`.
type dbCmd struct {
	Connect dbConnectCmd `cmd:"" help:"Run the database's own client through a tunnel, and end with it."`
	Ping    dbPingCmd    `cmd:"" help:"Ask a database for its version, without any client."`
	List    dbListCmd    `cmd:"" name:"ls" aliases:"list" help:"List the databases that there are certificates for."`
	Config  dbConfigCmd  `cmd:"" help:"Print what a client needs to reach a database without a local proxy."`
	Env     dbEnvCmd     `cmd:"" help:"Print the same as environment variables."`
	Login   dbLoginCmd   `cmd:"" help:"Write the client's configuration file for a database that there is a certificate for."`
	Logout  dbLogoutCmd  `cmd:"" help:"Remove the certificate of a database, and what login has written."`
}

// optionalDB is the argument of the commands that take the only database there
// is when none is named.
type optionalDB struct {
	Name string `arg:"" optional:"" help:"Name of the database in the cluster. Default: the only one there is a certificate for."`
}

// The formats of answers for programs.
const (
	formatJSON = "json"
	formatYAML = "yaml"
)

// printFor writes v for programs in the format, which is JSON or YAML. Both have
// the same keys.
func printFor(w io.Writer, format string, v any) error {
	if format == formatYAML {
		b, err := yaml.Marshal(v)
		if err != nil {
			return err
		}
		return printText(w, string(b))
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return printText(w, string(b)+"\n")
}

// orDash has a dash where a text is empty.
func orDash(texts []string) []string {
	for i, text := range texts {
		if text == "" {
			texts[i] = "-"
		}
	}
	return texts
}

// printText writes the answer.
func printText(w io.Writer, text string) error {
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("write standard output: %w", err)
	}
	return nil
}
