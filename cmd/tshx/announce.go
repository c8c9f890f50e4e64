package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"tshx/internal/dbproxy"
	"tshx/internal/plain"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// announcementSchema is the version of the object that --format json prints.
// Within one version keys are added and never renamed, removed or given another
// type.
const announcementSchema = 1

// announcement is what a listening command tells about itself: as text, as the
// object of --format json, and to the command that it runs. Each key is always
// there; what there is none of is null.
type announcement struct {
	Schema    int        `json:"schema"`
	PID       int        `json:"pid"`
	Address   string     `json:"address"` // host:port, or the path of a socket
	Host      *string    `json:"host"`    // null on a socket
	Port      *int       `json:"port"`    // null on a socket
	Socket    *string    `json:"socket"`  // null on TCP
	Kind      string     `json:"kind"`
	Engine    *string    `json:"engine"`
	Resource  string     `json:"resource"`
	Cluster   string     `json:"cluster"`
	Database  *string    `json:"database"` // inside the server
	User      *string    `json:"user"`     // inside the server
	Mode      string     `json:"mode"`
	Transport string     `json:"transport"`
	Expires   *time.Time `json:"expires"` // of the certificate that ends first
	Command   []string   `json:"command"`
	// CommandEnv are variables that Command needs besides.
	CommandEnv  map[string]string `json:"command_env"`
	CommandLine *string           `json:"command_line"` // both for a POSIX shell
	URL         *string           `json:"url"`
	CAFile      *string           `json:"ca_file"` // the files are for clients that do TLS themselves
	CertFile    *string           `json:"cert_file"`
	KeyFile     *string           `json:"key_file"`
	Protocol    *string           `json:"protocol"`   // of an application, http or tcp, where that is known
	Kubeconfig  *string           `json:"kubeconfig"` // to be used in place of the user's
	// Contexts are those in it that lead here.
	Contexts []announcedContext `json:"contexts"`

	// Connect is the line for people's shells; nil is CommandLine.
	Connect *string `json:"-"`

	// Script is what shells or programs read besides, in the format that was asked
	// for; whole lines. It may hold secrets.
	Script string `json:"-"`

	// Intro is what only people read: whole lines, fit for a terminal.
	Intro string `json:"-"`
	// Env are the variables, KEY=value, by which programs find the resource.
	Env []string `json:"-"`
}

// announcedContext is one in a kubeconfig.
type announcedContext struct {
	Cluster     string `json:"cluster"`
	KubeCluster string `json:"kube_cluster"`
	Context     string `json:"context"`
}

// The modes: who shows the certificate to the proxy.
const (
	modeTunnel = "tunnel" // tshx
	modePlain  = "plain"  // the client
)

// newAnnouncement says what every kind of resource has.
func newAnnouncement(s *service, addr net.Addr) announcement {
	a := announcement{
		Schema: announcementSchema, PID: os.Getpid(), Address: addr.String(),
		Kind: s.Kind, Resource: s.Resource, Cluster: s.login.Cluster, Mode: modeTunnel,
	}
	for _, c := range s.Certs {
		if end := c.Expires.UTC(); !c.Expires.IsZero() && (a.Expires == nil || end.Before(*a.Expires)) {
			a.Expires = &end
		}
	}
	if addr.Network() == "unix" {
		a.Socket = &a.Address
		return a
	}
	host, port := hostPort(addr)
	a.Host, a.Port = &host, &port
	return a
}

// transportWord says in one word how the proxy is reached, as far as that is
// known without asking it.
func transportWord(f *tlsroute.Finder, getenv func(string) string) string {
	way, ok := f.Known()
	if !ok {
		return "unknown"
	}
	if !way.Upgrade {
		return "raw"
	}
	method := upgrade.MethodFromEnv(getenv(upgrade.EnvMethod))
	if method == upgrade.Auto {
		method = way.Method
	}
	if method == upgrade.Auto {
		return "unknown" // the first connection finds out which upgrade it is
	}
	return string(method)
}

// text is for people. Scripts may rely on the lines "address: ", "connect: " and
// "url: ", of which the last two may be missing.
func (a *announcement) text() string {
	var b strings.Builder
	b.WriteString(a.Intro)
	fmt.Fprintf(&b, "address: %s\n", plain.Copyable(a.Address))
	if a.Kubeconfig != nil {
		fmt.Fprintf(&b, "kubeconfig: %s\n", plain.Copyable(*a.Kubeconfig))
	}
	if line := cmp.Or(a.Connect, a.CommandLine); line != nil {
		fmt.Fprintf(&b, "connect: %s\n", plain.Copyable(*line))
	}
	if a.URL != nil {
		fmt.Fprintf(&b, "url: %s\n", plain.Copyable(*a.URL))
	}
	return b.String()
}

// comments begin the lines that a shell is not to run, in the formats that are
// for one.
var comments = map[string]string{"unix": "# ", "powershell": "# ", "command-prompt": "REM "}

// print writes the announcement in one of the formats.
func (a *announcement) print(w io.Writer, format string) error {
	var b bytes.Buffer // one Write, so that nobody reads half a line
	if format == "json" {
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(a); err != nil {
			return err
		}
	} else {
		comment := comments[format]
		for line := range strings.Lines(a.text()) {
			if command, ok := strings.CutPrefix(line, "connect: "); ok && comment != "" {
				b.WriteString(command)
				continue
			}
			b.WriteString(comment + line)
		}
		b.WriteString(a.Script)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write standard output: %w", err)
	}
	return nil
}

// setClient fills in what the clients of a database engine need.
func (a *announcement) setClient(e *dbproxy.Engine, at dbproxy.Endpoint) {
	a.Engine, a.User, a.Database = &e.Protocol, notEmpty(at.User), notEmpty(at.Name)
	if !at.Tunnel {
		a.Mode = modePlain
		a.CAFile, a.CertFile, a.KeyFile = notEmpty(at.Files.CA), notEmpty(at.Files.Cert), notEmpty(at.Files.Key)
	}
	if e.Trouble(at) != "" {
		return
	}
	c := clientOf(e, at)
	a.Command, a.CommandEnv, a.CommandLine = c.args, c.variables(), notEmpty(c.line())
	a.URL = notEmpty(e.URL(at))
	if e.Env != nil {
		a.Env = e.Env(at)
	}
}

// notEmpty returns nil for what there is none of.
func notEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
