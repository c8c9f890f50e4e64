package main

import (
	"errors"
	"fmt"
	"strings"

	"tshx/internal/plain"
	"tshx/internal/profile"
)

type appsLogoutCmd struct {
	Cluster string `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"Cluster of the application. Default: the profile's."`
	Name    string `arg:"" optional:"" help:"Name of the application in the cluster. Default: all that there are certificates for."`
}

// Run removes what there is of one app, or of each in the cluster: certificates,
// valid or not, their own keys and local authorities. What cannot be removed
// keeps nothing else.
func (c *appsLogoutCmd) Run(env *Env, g *Globals) error {
	l, err := g.openOffline(env, c.Cluster)
	if err != nil {
		return err
	}
	names := []string{c.Name}
	if c.Name == "" {
		if names, err = l.RemovableApps(); err == nil && len(names) == 0 {
			err = l.noApps("")
		}
	}
	var done strings.Builder
	for _, name := range names {
		removed, rerr := l.RemoveApp(name)
		for _, path := range removed {
			fmt.Fprintf(&done, "removed: %s\n", plain.Copyable(path))
		}
		err = errors.Join(err, rerr)
	}
	var missing *profile.CertError
	if errors.As(err, &missing) && missing.Problem == profile.Missing && done.Len() == 0 {
		sought := *missing
		sought.Renew = ""
		say(env, "nothing to remove: "+sought.Error())
		return nil
	}
	return errors.Join(err, printText(env.Stdout, done.String()))
}
