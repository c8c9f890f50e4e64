package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"tshx/internal/cloudproxy"
	"tshx/internal/identity"
	"tshx/internal/localproxy"
	"tshx/internal/plain"
	"tshx/internal/profile"
	"tshx/internal/program"
	"tshx/internal/tlsroute"
)

// cloudNames are the clouds for people.
var cloudNames = map[string]string{cloudAWS: "AWS", cloudAzure: "Azure", cloudGCP: "Google Cloud"}

// cloudFlags are those of tsh's by which the certificate for an app says as whom.
var cloudFlags = map[string]string{cloudAWS: "--aws-role=ROLE", cloudAzure: "--azure-identity=ID", cloudGCP: "--gcp-service-account=ACCOUNT"}

// cloudApp is an app of the login that is the API of a cloud.
type cloudApp struct {
	Name    string
	As      string // role, identity or account
	Expires time.Time
	cert    func() (*tls.Certificate, error) // reads it anew each time
	renew   string
}

// title names the app in words to people.
func (a cloudApp) title() string { return fmt.Sprintf("app %q", a.Name) }

// route is how to get there. cert is asked for the certificate to show.
func (a cloudApp) route(cert func() (*tls.Certificate, error)) cloudproxy.App {
	return cloudproxy.App{Name: a.Name, Route: tlsroute.Route{Name: a.title(), ALPN: []string{tlsroute.ALPNHTTP1}, Certificate: cert}}
}

// certificate is the app's as a service shows it.
func (a cloudApp) certificate() certificate {
	return certificate{What: a.title(), Resource: a.Name, Read: a.cert, Expires: a.Expires, Renew: a.renew}
}

// cloudApp returns the app of this name. It must have a certificate that is valid,
// and be of the cloud.
func (l *login) cloudApp(cloud, name string) (cloudApp, error) {
	a := cloudApp{
		Name: name, renew: l.RenewCommand(profile.KindApp, name),
		cert: func() (*tls.Certificate, error) { return l.AppCert(name) },
	}
	leaf, err := a.cert()
	if err != nil {
		return a, l.missingOf(cloud, name, err)
	}
	id, err := identity.FromCertificate(leaf.Leaf)
	if err != nil {
		return a, fmt.Errorf("%s certificate: %w", a.title(), err)
	}
	of, as := cloudRoute(id.App)
	if of != cloud {
		use := "tshx proxy app " + quote(name)
		if of != "" {
			use = "tshx proxy " + of + " --app " + quote(name)
		}
		return a, &notOfCloudError{program.Usagef("%s is not the API of %s; use: %s", a.title(), cloudNames[cloud], use)}
	}
	a.As, a.Expires = as, leaf.Leaf.NotAfter
	return a, nil
}

// notOfCloudError says that an app is something else.
type notOfCloudError struct{ error }

func (e *notOfCloudError) Unwrap() error { return e.error }

// cloudApps returns the apps of these names, each once, or else the only one that
// the login has for the cloud.
func (l *login) cloudApps(cloud string, names []string) ([]cloudApp, error) {
	var apps []cloudApp
	for _, name := range names {
		if slices.ContainsFunc(apps, func(a cloudApp) bool { return a.Name == name }) {
			continue
		}
		a, err := l.cloudApp(cloud, name)
		if err != nil {
			return nil, err
		}
		apps = append(apps, a)
	}
	if len(names) > 0 {
		return apps, nil
	}
	all, err := l.Apps()
	if err != nil {
		return nil, err
	}
	var first error // of one that may be of the cloud
	var found []string
	mayBe := l.mayBe(cloud)
	for _, name := range all {
		a, err := l.cloudApp(cloud, name)
		var other *notOfCloudError
		switch {
		case err == nil:
			apps, found = append(apps, a), append(found, name)
		case !errors.As(err, &other) && mayBe(name):
			first = cmp.Or(first, err)
		}
	}
	switch {
	case len(apps) == 1:
		return apps, nil
	case len(apps) > 1:
		return nil, program.Usagef("name an app with --app; of %s there are %s", cloudNames[cloud], plain.Some(found, ", "))
	case first != nil:
		return nil, first
	}
	missing := l.noApps("tsh apps login NAME " + cloudFlags[cloud])
	missing.What = cloudNames[cloud] + " app certificate"
	return nil, missing
}

// missingOf has the error of an app that there is no certificate for name those of
// its cloud only, and say how to get one.
func (l *login) missingOf(cloud, name string, err error) error {
	var missing *profile.CertError
	if !errors.As(err, &missing) || missing.Problem != profile.Missing {
		return err
	}
	of := *missing
	mayBe := l.mayBe(cloud)
	of.Names = slices.DeleteFunc(slices.Clone(of.Names), func(other string) bool { return !mayBe(other) })
	of.Nearest = profile.Nearest(name, of.Names)
	if l.IdentityFile == "" { // else it is another identity file that is needed
		of.Renew += " " + cloudFlags[cloud]
	}
	return &of
}

// mayBe returns what reports whether an app whose certificate cannot be used is of
// the cloud, as far as can be read. All are read, once, when it is first asked.
func (l *login) mayBe(cloud string) func(name string) bool {
	certs := sync.OnceValue(func() []profile.CertStatus {
		list, _ := l.Certificates() // what cannot be listed cannot be read
		return list
	})
	return func(name string) bool {
		for _, s := range certs() {
			if s.Kind == profile.KindApp && s.Cluster == l.Cluster && s.Name == name && s.Identity.App.Name != "" {
				of, _ := cloudRoute(s.Identity.App)
				return of == cloud
			}
		}
		return true
	}
}

// newCloudProxy starts a proxy for apps. certs are those to show for each; nil are
// the login's. The rest of o is the caller's. The caller closes it.
func (l *login) newCloudProxy(env *Env, apps []cloudApp, certs []func() (*tls.Certificate, error), o cloudproxy.Options) (*cloudproxy.Proxy, error) {
	for i, a := range apps {
		cert := a.cert
		if certs != nil {
			cert = certs[i]
		}
		o.Apps = append(o.Apps, a.route(cert))
	}
	o.Direct, o.Explain, o.Log, o.Now = l.egress.DialContext, explain, env.Log, env.Now
	return cloudproxy.New(o)
}

// noSocket refuses --listen with the path of a socket.
func (f *listenFlags) noSocket(clients string) error {
	if _, socket := localproxy.SocketPath(f.Listen); socket {
		return program.Usagef("--listen %s: %s cannot use a socket; leave it out, or name a port", f.Listen, clients)
	}
	return nil
}
