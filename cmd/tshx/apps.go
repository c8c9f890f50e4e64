package main

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"tshx/internal/identity"
	"tshx/internal/plain"
	"tshx/internal/profile"
	"tshx/internal/program"
)

// appsCmd are the commands about applications other than the listener, which is
// `tshx proxy app`.
type appsCmd struct {
	List   appsListCmd   `cmd:"" name:"ls" aliases:"list" help:"List the applications that there are certificates for."`
	Login  appsLoginCmd  `cmd:"" help:"Check the certificate of an application, and print how to use it."`
	Config appsConfigCmd `cmd:"" help:"Print what a client needs to reach an application without a local proxy."`
	Logout appsLogoutCmd `cmd:"" help:"Remove the certificate of an application, or of all."`
}

// app is one that the login has a valid certificate for.
type app struct {
	*login
	Name    string       // in the cluster
	Route   identity.App // what the certificate says
	Expires time.Time    // when it does
	Files   profile.Files
	flags   string // before the name, to find it again
}

// openApp finds the app of this name, or the only one there is if name is empty.
// A certificate that is missing or not valid is an error. There is no connection.
func (g *Globals) openApp(env *Env, name, cluster string) (*app, error) {
	l, err := g.openOffline(env, cluster)
	if err != nil {
		return nil, err
	}
	if name == "" {
		if name, err = l.onlyApp(); err != nil {
			return nil, err
		}
	}
	cert, err := l.AppCert(name)
	if err != nil {
		return nil, err
	}
	files, err := l.AppFiles(name)
	if err != nil {
		return nil, err
	}
	id, err := identity.FromCertificate(cert.Leaf)
	if err == nil && !id.App.Present() {
		err = errors.New("it opens no app")
	}
	if err != nil {
		return nil, &profile.CertError{
			What: fmt.Sprintf("app %q certificate", name), Path: files.Cert, Problem: profile.Broken, Err: err,
			Renew: l.RenewCommand(profile.KindApp, name),
		}
	}
	a := &app{login: l, Name: name, Route: id.App, Expires: cert.Leaf.NotAfter, Files: files}
	if cluster != "" {
		a.flags = "--cluster=" + quote(cluster) + " "
	}
	return a, nil
}

// onlyApp is the one to take when none was named.
func (l *login) onlyApp() (string, error) {
	names, err := l.Apps()
	switch {
	case len(names) == 1:
		return names[0], nil
	case len(names) > 1:
		return "", program.Usagef("name an app; there are %s", plain.Some(names, ", "))
	case err != nil:
		return "", err
	}
	return "", l.noApps("tsh apps login NAME")
}

// noApps says that there is no certificate for any app.
func (l *login) noApps(renew string) *profile.CertError {
	where := cmp.Or(l.IdentityFile, l.Paths().ClusterDir(profile.KindApp, l.Cluster))
	return &profile.CertError{What: "app certificate", Path: where, Problem: profile.Missing, Renew: renew}
}

// title names the app in words to people.
func (a *app) title() string { return fmt.Sprintf("app %q", a.Name) }

// The clouds whose API an app can be.
const (
	cloudAWS   = "aws"
	cloudAzure = "azure"
	cloudGCP   = "gcp"
)

// cloudRoute is the cloud whose API the app is, and who one is there; both are
// empty for other apps: whether they speak HTTP a certificate does not say
// (docs/protocol.md, "Apps").
func cloudRoute(a identity.App) (cloud, as string) {
	switch {
	case a.AWSRoleARN != "":
		return cloudAWS, a.AWSRoleARN
	case a.AzureIdentity != "":
		return cloudAzure, a.AzureIdentity
	case a.GCPServiceAccount != "":
		return cloudGCP, a.GCPServiceAccount
	}
	return "", ""
}

// proxyLines are the commands that open the app for clients, the handiest first.
func (a *app) proxyLines() []string {
	name := quote(a.Name)
	switch cloud, _ := cloudRoute(a.Route); cloud {
	case cloudAWS:
		return []string{"tshx aws --app " + name, "tshx proxy aws --app " + name}
	case cloudAzure:
		return []string{"tshx az --app " + name, "tshx proxy azure --app " + name}
	case cloudGCP:
		return []string{"tshx gcloud --app " + name, "tshx proxy gcp --app " + name}
	}
	return []string{"tshx proxy app " + a.flags + name}
}
