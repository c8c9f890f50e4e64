package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"tshx/internal/plain"
	"tshx/internal/survey"
	"tshx/internal/upgrade"
)

// upgradeSchema is the version of the JSON form. Keys may be added to it without a
// new one.
const upgradeSchema = 1

// upgradeReport is what `upgrade test` prints. The keys are stable.
type upgradeReport struct {
	Schema      int             `json:"schema"`
	Target      string          `json:"target"`
	HTTPProxy   *string         `json:"http_proxy"` // null: none
	Login       *string         `json:"login"`      // its cluster; null: none
	Environment upgradeEnv      `json:"environment"`
	Checks      []upgradeCheck  `json:"checks"`
	Public      *upgradeCert    `json:"public_certificate"`
	Host        *upgradeCert    `json:"host_certificate"`
	Proxy       *upgradeProxy   `json:"proxy"`
	Balancer    upgradeBalancer `json:"balancer"`
	Use         upgradeUse      `json:"use"`
	Advice      []string        `json:"advice"`

	notes []string
}

// upgradeEnv holds the variables that decide; null if not set.
type upgradeEnv struct {
	Upgrade *string `json:"upgrade"`
	Mode    *string `json:"mode"`
}

type upgradeCheck struct {
	Name   string   `json:"name"`
	Status string   `json:"status"` // passed, failed or skipped
	Millis *float64 `json:"took_ms"`
	Result string   `json:"result"`
	Error  *string  `json:"error"`
	Proves string   `json:"proves"`
}

type upgradeCert struct {
	Names    []string  `json:"names"`
	Issuer   string    `json:"issuer"`
	NotAfter time.Time `json:"not_after"`
	SHA256   string    `json:"sha256"`
	Verified bool      `json:"verified"`
	Problem  *string   `json:"problem"`
}

type upgradeProxy struct {
	Version string `json:"version"`
	Cluster string `json:"cluster"`
}

type upgradeBalancer struct {
	Found    bool     `json:"found"`
	Server   *string  `json:"server"`
	Evidence []string `json:"evidence"`
}

type upgradeUse struct {
	Works     bool    `json:"works"`
	Way       string  `json:"way"`        // raw, websocket, legacy, or upgrade if none works
	DecidedBy string  `json:"decided_by"` // test or environment
	Error     *string `json:"error"`
}

func newUpgradeReport(env *Env, t *upgradeTarget, r *survey.Report) *upgradeReport {
	wish := upgradeWish(env, t.Addr)
	use := r.Use(wish)
	u := &upgradeReport{
		Schema: upgradeSchema, Target: t.Addr, HTTPProxy: notEmpty(t.httpProxy), Login: notEmpty(t.cluster),
		Environment: upgradeEnv{Upgrade: notEmpty(env.Getenv(upgrade.EnvRequired)), Mode: notEmpty(env.Getenv(upgrade.EnvMethod))},
		Public:      newUpgradeCert(r.Public), Host: newUpgradeCert(r.Host),
		Balancer: upgradeBalancer{Found: r.Between(), Server: notEmpty(r.ServerHeader()), Evidence: append([]string{}, r.Evidence()...)},
		Use:      upgradeUse{Works: use.Works, Way: use.Way(), DecidedBy: "test"},
		Advice:   append([]string{}, upgradeAdvice(r, wish, use)...),
	}
	if use.Forced {
		u.Use.DecidedBy = "environment"
	}
	if use.Err != nil {
		u.Use.Error = notEmpty(oneLineOf(use.Err))
	}
	if r.Proxy != nil {
		u.Proxy = &upgradeProxy{r.Proxy.Version, r.Proxy.Cluster}
	}
	for _, c := range r.Checks {
		u.Checks = append(u.Checks, newUpgradeCheck(c))
	}
	u.notes = t.notes(r, use)
	return u
}

// upgradeWish is what the environment demands for an address.
func upgradeWish(env *Env, addr string) survey.Wish {
	w := survey.Wish{Method: upgrade.MethodFromEnv(env.Getenv(upgrade.EnvMethod))}
	if required, decided := upgrade.FromEnv(env.Getenv(upgrade.EnvRequired), addr); decided {
		w.Upgrade = &required
	}
	return w
}

// notes are for people: what else bears on what tshx does.
func (t *upgradeTarget) notes(r *survey.Report, use survey.Use) []string {
	var list []string
	if t.note != "" {
		list = append(list, t.note)
	}
	if t.known != "" && use.Works && !use.Forced && strings.HasPrefix(t.known, "raw") == use.Upgrade {
		list = append(list, "so far tshx takes another way ("+t.known+"); a dial that fails by it finds this one")
	}
	if r.Host != nil && r.Host.Problem == nil && !r.Host.Verified {
		list = append(list, "host certificate not verified, SHA-256 "+r.Host.SHA256)
	}
	return list
}

func oneLineOf(err error) string {
	return plain.Line(strings.ReplaceAll(err.Error(), "\n", "; "), 0)
}

func newUpgradeCert(c *survey.Certificate) *upgradeCert {
	if c == nil {
		return nil
	}
	u := &upgradeCert{Names: append([]string{}, c.Names...), Issuer: c.Issuer, NotAfter: c.NotAfter.UTC(), SHA256: c.SHA256, Verified: c.Verified}
	if c.Problem != nil {
		u.Problem = notEmpty(oneLineOf(c.Problem))
	}
	return u
}

func newUpgradeCheck(c survey.Check) upgradeCheck {
	u := upgradeCheck{Name: c.Name, Status: string(c.Status), Result: c.Result, Proves: c.Proves}
	if c.Status != survey.Skipped {
		took := milliseconds(c.Took)
		u.Millis = &took
	}
	if c.Err != nil {
		u.Error = notEmpty(oneLineOf(c.Err))
	}
	return u
}

func (u *upgradeReport) json(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(u); err != nil {
		return fmt.Errorf("write standard output: %w", err)
	}
	return nil
}

// upgradeTitles are the checks' names for people.
var upgradeTitles = map[string]string{
	survey.DNS: "DNS", survey.TCP: "TCP", survey.TLS: "TLS", survey.Raw: "raw ALPN", survey.HostCertificate: "host certificate",
	survey.FrontALPN: "browsers' ALPN", survey.HTTP: "GET /webapi/ping",
	survey.WebSocketPing: "WebSocket, alpn-ping", survey.WebSocket: "WebSocket, alpn",
	survey.LegacyPing: "legacy alpn-ping", survey.Legacy: "legacy alpn",
	survey.WebSocketPinged: "WebSocket ping", survey.LegacyPinged: "legacy ping",
}

func (u *upgradeReport) text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintln(&b, plain.Line(u.headline(), 0))
	tw := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "\nWHAT\tRESULT\tTIME\tSEEN, AND WHAT IT PROVES")
	for _, c := range u.Checks {
		c.rows(tw)
	}
	tw.Flush()
	fmt.Fprintln(&b, "\n"+plain.Line(u.verdict(), 0))
	for _, part := range []struct {
		title string
		list  []string
	}{{"in between", u.Balancer.Evidence}, {"what to do", u.Advice}, {"also", u.notes}} {
		if len(part.list) > 0 {
			fmt.Fprintln(&b, part.title+":")
		}
		for _, line := range part.list {
			fmt.Fprintln(&b, "  - "+plain.Line(line, 0))
		}
	}
	return printText(w, b.String())
}

func (u *upgradeReport) headline() string {
	s := "proxy " + u.Target
	if u.HTTPProxy != nil {
		s += ", through the HTTP proxy " + *u.HTTPProxy
	}
	if u.Login != nil {
		return s + ", with the login to " + *u.Login
	}
	return s + ", without a login"
}

// rows writes a check, and below it what follows.
func (c *upgradeCheck) rows(tw io.Writer) {
	result, took := map[string]string{"passed": "ok", "failed": "no", "skipped": "-"}[c.Status], "-"
	if c.Millis != nil {
		took = fmt.Sprintf("%.1f ms", *c.Millis)
	}
	seen := c.Result
	switch {
	case c.Error != nil && seen != "":
		seen += ": " + *c.Error
	case c.Error != nil:
		seen = *c.Error
	case seen == "":
		seen = "not tried"
	}
	fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", upgradeTitles[c.Name], result, took, plain.Line(seen, 0))
	if c.Proves != "" {
		fmt.Fprintf(tw, "\t\t\t=> %s\n", plain.Line(c.Proves, 0))
	}
}

func (u *upgradeReport) verdict() string {
	by := "as the test connection says"
	if u.Use.DecidedBy == "environment" {
		by = "as " + upgrade.EnvRequired + "=" + *u.Environment.Upgrade + " decides"
	}
	way := map[string]string{"raw": "raw TLS", "websocket": "the connection upgrade by WebSocket", "legacy": "the legacy connection upgrade",
		"upgrade": "the connection upgrade"}[u.Use.Way]
	switch {
	case u.Use.Works:
	case u.Public == nil || u.Public.Problem != nil: // the test connection shows nothing
		return "tshx will not get through: " + deref(u.Use.Error)
	default:
		return "tshx will not get through: it would use " + way + ", " + by + ", and that fails: " + deref(u.Use.Error)
	}
	return "tshx will use: " + way + ", " + by
}
