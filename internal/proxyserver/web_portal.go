package proxyserver

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"tshx/internal/identity"
	"tshx/internal/webportal"
)

// makePortal sets up what browsers see.
func (s *Server) makePortal() {
	o := webportal.Options{
		Addr: s.addr, Cluster: s.opts.Authority.Cluster, Log: s.log,
		Resources: s.reachable,
		ServeApp: func(w http.ResponseWriter, r *http.Request, app string) {
			s.forwardApp(w, r, s.apps[app])
		},
	}
	for _, a := range s.opts.Apps {
		app := webportal.App{Name: a.Name, Host: s.appHost(a)}
		if !a.web() {
			app.Instead = a.lines()[0]
		}
		o.Apps = append(o.Apps, app)
	}
	s.portal = webportal.New(o)
}

// WebLink returns the path of a page of the web listener that signs its reader
// in, once, within webportal.LinkLifetime.
func (s *Server) WebLink(l webportal.Login) string { return s.portal.Link(l) }

// appHost is the public address of an app, without a port.
func (s *Server) appHost(a App) string {
	addr := cmp.Or(a.PublicAddr, a.Name+"."+s.publicHost())
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}

// webNames are the names of the web listener.
func (s *Server) webNames() []string {
	names := []string{s.publicHost()}
	for _, a := range s.opts.Apps {
		names = append(names, s.appHost(a))
	}
	return names
}

// web reports whether browsers can use an app.
func (a App) web() bool {
	return a.cloud() == "" && (strings.HasPrefix(a.URI, "http:") || strings.HasPrefix(a.URI, "https:"))
}

// cloud is the cloud whose API an app is; empty if it is none.
func (a App) cloud() string {
	if a.AWS != nil {
		return "aws"
	}
	return a.Cloud
}

// lines are the command lines that reach an app.
func (a App) lines() []string {
	switch a.cloud() {
	case "aws":
		return []string{"tshx aws --app " + word(a.Name) + " sts get-caller-identity", "tshx proxy aws --app " + word(a.Name)}
	case "azure":
		return []string{"tshx az --app " + word(a.Name) + " account show", "tshx proxy azure --app " + word(a.Name)}
	case "gcp":
		return []string{"tshx gcloud --app " + word(a.Name) + " projects list", "tshx proxy gcp --app " + word(a.Name)}
	}
	return []string{"tshx proxy app " + word(a.Name)}
}

// reachable is what the page shows somebody: all that there is of what his
// certificates can open.
func (s *Server) reachable(id identity.Identity) []webportal.Section {
	list := []webportal.Section{s.reachableNodes(id), s.reachableDatabases(id), s.reachableApps(), s.reachableKube(id)}
	away := make(map[string]bool) // by kind and name
	for _, r := range s.Resources() {
		away[r.Kind+" "+r.Name] = r.ByAgent && r.Agents == 0
	}
	for n, kind := range []string{kindNode, kindDB, kindApp, kindKube} {
		for i := range list[n].Items {
			if item := &list[n].Items[i]; away[kind+" "+item.Name] {
				item.About = append(item.About, "no agent is connected")
			}
		}
	}
	return list
}

func (s *Server) reachableNodes(id identity.Identity) webportal.Section {
	nodes := webportal.Section{ID: "nodes", Title: "Nodes", Empty: "There are no SSH nodes in this cluster."}
	if len(id.Logins) == 0 {
		nodes.Empty = "Your login has no SSH user."
	} else {
		for _, n := range s.nodes() {
			nodes.Items = append(nodes.Items, webportal.Item{
				Name: n.Name, About: []string{"ssh", "as " + strings.Join(id.Logins, ", ")},
				Lines: []string{"tshx ssh " + word(id.Logins[0]+"@"+n.Name)},
			})
		}
	}
	return nodes
}

func (s *Server) reachableDatabases(id identity.Identity) webportal.Section {
	dbs := webportal.Section{ID: "databases", Title: "Databases", Empty: "There are no databases in this cluster."}
	for _, d := range s.opts.Databases {
		dbs.Items = append(dbs.Items, webportal.Item{
			Name: d.Name, About: slices.Concat([]string{d.Protocol}, granted("as", "any user", id.AllowedDBUsers), granted("in", "any database", id.AllowedDBNames)),
			Lines: []string{"tshx db connect " + word(d.Name), "tshx proxy db " + word(d.Name) + " --tunnel"},
		})
	}
	return dbs
}

func (s *Server) reachableApps() webportal.Section {
	apps := webportal.Section{ID: "applications", Title: "Applications", Empty: "There are no applications in this cluster."}
	for _, a := range s.opts.Apps {
		kind := cmp.Or(a.cloud(), "tcp")
		if a.web() {
			kind = "http"
		}
		apps.Items = append(apps.Items, webportal.Item{Name: a.Name, About: []string{kind}, Lines: a.lines(), Open: a.web()})
	}
	return apps
}

func (s *Server) reachableKube(id identity.Identity) webportal.Section {
	list := webportal.Section{ID: "kubernetes", Title: "Kubernetes", Empty: "There are no Kubernetes clusters here."}
	if len(id.KubeUsers)+len(id.KubeGroups) == 0 {
		list.Empty = "Your login has no Kubernetes users and groups."
		return list
	}
	for _, k := range s.opts.Kubes {
		list.Items = append(list.Items, webportal.Item{
			Name: k.Name, About: slices.Concat(granted("as", "any user", id.KubeUsers), granted("in", "any group", id.KubeGroups)),
			Lines: []string{"tshx kube login " + word(k.Name), "tshx proxy kube " + word(k.Name)},
		})
	}
	return list
}

// granted names what a certificate allows, where it says so.
func granted(how, anything string, names []string) []string {
	switch {
	case len(names) == 0:
		return nil
	case slices.Contains(names, "*"):
		return []string{how + " " + anything}
	}
	return []string{how + " " + strings.Join(names, ", ")}
}

// word is a name as one word of a shell.
func word(name string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%_-+=:,./", r)
	}
	if name != "" && !strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
		return name
	}
	return fmt.Sprintf("'%s'", strings.ReplaceAll(name, "'", `'\''`))
}
