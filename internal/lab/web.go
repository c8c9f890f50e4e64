package lab

import (
	"tshx/internal/identity"
	"tshx/internal/webportal"
)

// WebLink returns a URL at addr, the proxy's or a balancer's, that signs a browser
// in as the user of a login: once, and within webportal.LinkLifetime.
func (l *Lab) WebLink(addr string, o HomeOptions) string {
	lg := l.login(o)
	return "https://" + addr + l.Proxy.WebLink(webportal.Login{Identity: lg.identity(identity.Identity{}), Ends: lg.notAfter})
}

// webNames are those of the web listener: the proxy's and the apps'.
func (l *Lab) webNames() []string {
	names := []string{host}
	for _, a := range l.config.Apps {
		names = append(names, appAddr(a.Name))
	}
	return names
}
