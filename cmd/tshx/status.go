package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"tshx/internal/profile"
	"tshx/internal/tlsroute"
)

type statusCmd struct {
	Format string `short:"f" enum:"text,json" default:"text" help:"Output format: text or json."`
}

// Run prints the login. It exits with exitLogin if the login itself is not
// valid, after printing.
func (c *statusCmd) Run(env *Env, g *Globals) error {
	l, err := g.open(env, "")
	if err != nil {
		return err
	}
	r, loginErr := newReport(env, l)
	if c.Format == "json" {
		enc := json.NewEncoder(env.Stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(map[string]any{"active": r, "profiles": l.others()})
	} else {
		err = r.text(env.Stdout, env.Now())
	}
	return cmp.Or(loginErr, err)
}

// others lists the other profiles of the home directory.
func (l *login) others() []string {
	names := []string{}
	if l.Dir != "" {
		all, _ := profile.Profiles(l.Dir) // unreadable is as good as none here
		names = append(names, slices.DeleteFunc(all, func(n string) bool { return n == l.Name })...)
	}
	return names
}

// statusReport is what `status --format json` prints as "active". The keys that
// tsh has too mean the same.
type statusReport struct {
	ProfileURL   string       `json:"profile_url"`
	Username     string       `json:"username"`
	Cluster      string       `json:"cluster"`
	Roles        []string     `json:"roles"`
	Logins       []string     `json:"logins"`
	Databases    []string     `json:"databases"`
	ValidUntil   *time.Time   `json:"valid_until"`
	Transport    transport    `json:"transport"`
	Certificates []certReport `json:"certificates"`
}

// transport is how the proxy is reached.
type transport struct {
	Way        string    `json:"way"` // raw, upgrade or unknown
	Method     string    `json:"method,omitempty"`
	Source     string    `json:"source,omitempty"`
	Evidence   string    `json:"evidence,omitempty"`
	Detail     string    `json:"detail,omitempty"`
	At         time.Time `json:"at,omitzero"`
	AgeSeconds int64     `json:"age_seconds,omitempty"`
	HTTPProxy  string    `json:"http_proxy,omitempty"`
}

type certReport struct {
	Kind     string    `json:"kind"`
	Name     string    `json:"name,omitempty"`
	Cluster  string    `json:"cluster"`
	Protocol string    `json:"protocol,omitempty"`
	User     string    `json:"database_user,omitempty"`
	Database string    `json:"database_name,omitempty"`
	Path     string    `json:"path"`
	Expires  time.Time `json:"expires,omitzero"`
	Left     int64     `json:"seconds_left"` // 0 once it has expired
	Problem  string    `json:"problem,omitempty"`
	Message  string    `json:"message,omitempty"`
}

// newReport collects the status. The error is that of the login's own
// certificate.
func newReport(env *Env, l *login) (*statusReport, error) {
	certs, err := l.Certificates()
	if err != nil {
		env.Log.Debug("list certificates", "err", err)
	}
	r := &statusReport{
		ProfileURL: "https://" + l.WebAddr, Username: l.User, Cluster: l.Cluster,
		Databases: []string{}, Transport: l.transport(env), Certificates: []certReport{},
	}
	var loginErr error
	for _, c := range certs {
		r.Certificates = append(r.Certificates, newCertReport(c, env.Now()))
		switch c.Kind {
		case profile.KindTLS:
			loginErr = c.Err
			r.Roles, r.Logins = c.Identity.Roles, visible(c.Identity.Logins)
			if !c.NotAfter.IsZero() {
				r.ValidUntil = &c.NotAfter
			}
		case profile.KindSSH: // an identity file may be without
			if c.Problem != profile.Missing || l.IdentityFile == "" {
				loginErr = cmp.Or(loginErr, c.Err)
			}
		case profile.KindDB:
			r.Databases = append(r.Databases, c.Name)
		}
	}
	if len(certs) == 0 {
		loginErr = err
	}
	return r, loginErr
}

// visible drops the cluster's own marker principals.
func visible(logins []string) []string {
	return slices.DeleteFunc(slices.Clone(logins), func(l string) bool { return strings.HasPrefix(l, "-") })
}

func newCertReport(c profile.CertStatus, now time.Time) certReport {
	r := certReport{
		Kind: string(c.Kind), Name: c.Name, Cluster: c.Cluster, Path: c.Path, Expires: c.NotAfter.UTC(),
		Left: max(0, int64(c.NotAfter.Sub(now)/time.Second)),
	}
	if c.Kind == profile.KindDB {
		db := c.Identity.Database
		r.Protocol, r.User, r.Database = db.Protocol, db.User, db.Name
	}
	if c.NotAfter.IsZero() {
		r.Left = 0
	}
	if c.Err != nil {
		r.Problem, r.Message = c.Problem.String(), c.Err.Error()
	}
	return r
}

func (l *login) transport(env *Env) transport {
	t := transport{Way: "unknown"}
	if w, ok := l.finder.Known(); ok {
		t = transport{Way: "raw", Method: string(w.Method), Source: string(w.Source), Evidence: w.Evidence, Detail: w.Detail, At: w.At.UTC()}
		if w.Upgrade {
			t.Way = "upgrade"
		}
		if !w.At.IsZero() {
			t.AgeSeconds = int64(env.Now().Sub(w.At) / time.Second)
		}
	}
	if u, err := l.egress.ProxyFor(l.WebAddr); err == nil && u != nil {
		u.User = nil
		t.HTTPProxy = u.String()
	}
	return t
}

func (t transport) String() string {
	var s string
	switch t.Way {
	case "raw":
		s = "raw TLS"
	case "upgrade":
		s = "connection upgrade"
		if t.Method != "" {
			s += " (" + t.Method + ")"
		}
	default:
		s = "not tested yet; the first connection does"
	}
	s += map[string]string{
		string(tlsroute.SourceEnv): ", set by the environment", string(tlsroute.SourceProfile): ", found by the login",
		string(tlsroute.SourceMemory): ", remembered", string(tlsroute.SourceTest): ", tested",
	}[t.Source]
	if t.Evidence != "" {
		s += ": " + t.Evidence
	}
	if !t.At.IsZero() {
		s += fmt.Sprintf(", %s old", profile.RoundAge(time.Duration(t.AgeSeconds)*time.Second))
	}
	if t.HTTPProxy != "" {
		s += ", through " + t.HTTPProxy
	}
	return s
}

func (r *statusReport) text(w io.Writer, now time.Time) error {
	var t table
	t.row("Proxy:", r.ProfileURL)
	t.row("User:", r.Username)
	t.row("Cluster:", r.Cluster)
	t.row("Roles:", strings.Join(r.Roles, ", "))
	t.row("Logins:", strings.Join(r.Logins, ", "))
	t.row("Transport:", r.Transport.String())
	t.row()
	t.row("CERTIFICATE", "CLUSTER", "FOR", "TIME LEFT")
	for _, c := range r.Certificates {
		t.row(strings.TrimSpace(c.Kind+" "+c.Name), c.Cluster, c.purpose(), c.left(now))
	}
	return printText(w, t.String())
}

func (c certReport) purpose() string {
	if c.Protocol == "" {
		return "-"
	}
	s := c.Protocol
	if c.User != "" {
		s += ", user " + c.User
	}
	if c.Database != "" {
		s += ", database " + c.Database
	}
	return s
}

func (c certReport) left(now time.Time) string {
	switch {
	case c.Problem != "":
		return c.Message
	case c.Expires.IsZero():
		return "no end"
	}
	return profile.RoundAge(c.Expires.Sub(now))
}
