package webportal

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Section is one kind of resources.
type Section struct {
	ID    string // for the page's address, unique
	Title string
	Empty string // what it says without items
	Items []Item
	Found int // how many are not hidden; set by the Portal
}

// Item is one resource.
type Item struct {
	Name  string
	About []string // a few words each: its kind, as whom
	Lines []string // command lines that reach it, the best one first
	Open  bool     // the app of this name opens in the browser

	URL    string // of that; this and the next are set by the Portal
	Hidden bool   // is not what is searched for
}

// has reports whether all words of a search are in the item.
func (i *Item) has(words []string) bool {
	text := strings.ToLower(i.Text())
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// Text is what is searched.
func (i Item) Text() string {
	return strings.Join(append(append([]string{i.Name}, i.About...), i.Lines...), " ")
}

// What the templates are given.
type (
	pageView struct {
		User, Roles, Cluster, Query string
		Ends                        time.Time
		Sections                    []Section
		Found, All                  int
	}
	loginView struct {
		Cluster, User, App, Origin string
		Problem                    string // why the certificate will not do
		Out                        bool   // has just signed out
	}
	linkView    struct{ User, Cluster, Action string }
	onwardView  struct{ App, URL string }
	messageView struct{ Title, Text, Home string }
)

// servePage shows a user what there is.
func (p *Portal) servePage(w http.ResponseWriter, r *http.Request) {
	s := p.current(r)
	if s == nil {
		redirect(w, "/web/login")
		return
	}
	v := pageView{
		User: s.id.User, Roles: strings.Join(s.id.Roles, ", "), Cluster: p.opts.Cluster,
		Ends: s.ends.UTC(), Query: strings.TrimSpace(r.FormValue("q")),
	}
	words := strings.Fields(strings.ToLower(v.Query))
	v.Sections = p.opts.Resources(s.id)
	for n := range v.Sections {
		sec := &v.Sections[n]
		for k := range sec.Items {
			i := &sec.Items[k]
			if i.Open {
				i.URL = p.appURL(i.Name, p.place(r))
			}
			if i.Hidden = !i.has(words); !i.Hidden {
				sec.Found++
			}
		}
		v.All += len(sec.Items)
		v.Found += sec.Found
	}
	p.render(w, http.StatusOK, "page", p.opts.Cluster, v)
}

// appURL is where a browser finds an app; empty if it has no name for browsers.
func (p *Portal) appURL(name string, at place) string {
	for _, a := range p.apps {
		if a.Name == name && a.Instead == "" {
			return "https://" + a.Host + at.port + "/"
		}
	}
	return ""
}

// Message answers with one thing to say: a page for browsers, else JSON in the
// form of the web API.
func (p *Portal) Message(w http.ResponseWriter, r *http.Request, status int, title, text string) {
	if takesHTML(r) {
		p.render(w, status, "message", title, messageView{title, text, p.origin(p.place(r)) + "/"})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"message": title + ": " + text}})
}

//go:embed assets
var assets embed.FS

// look is all that pages are made of.
type look struct {
	pages  *template.Template
	policy string // Content-Security-Policy
}

var appearance = sync.OnceValue(func() look {
	functions := template.FuncMap{
		"clock":  func(t time.Time) string { return t.Format("15:04 MST") },
		"script": script, "style": style,
	}
	// The hashes allow our own style and script, and nothing else can come to run.
	policy := fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; img-src data:; form-action 'self'; "+
		"base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
		hash(string(style())), hash(string(script())))
	return look{template.Must(template.New("").Funcs(functions).ParseFS(assets, "assets/*.html")), policy}
})

func style() template.CSS { return template.CSS(asset("style.css")) }
func script() template.JS { return template.JS(asset("page.js")) }

func asset(name string) string {
	b, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // it is part of the program
	}
	return string(b)
}

// hash is the form of CSP (level 3, section 2.3.1).
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// render answers with a page. It is whole or not at all.
func (p *Portal) render(w http.ResponseWriter, status int, name, title string, view any) {
	l := appearance()
	var inner, b bytes.Buffer
	err := l.pages.ExecuteTemplate(&inner, name, view)
	if err == nil {
		err = l.pages.ExecuteTemplate(&b, "layout", map[string]any{
			"Name": name, "Title": title, "Body": template.HTML(inner.String()), // escaped by the template
		})
	}
	if err != nil {
		p.log.Error("page not made", "page", name, "err", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", l.policy)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// minutes is a duration in words.
func minutes(d time.Duration) string { return fmt.Sprintf("%d minutes", int(d.Minutes())) }
