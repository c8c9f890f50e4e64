//go:build linux

package integration

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"tshx/integration/peer"
)

// findBrowser returns the browser, which newer and older releases have in
// different packages.
func findBrowser(t testing.TB) string {
	t.Helper()
	path, err := peer.Find("chromium-headless-shell")
	if err != nil {
		if other, e := peer.Find("chromium"); e == nil {
			return other
		}
	}
	check(t, err)
	return path
}

// tab is a window of a browser of its own, which keeps account of what goes
// wrong in it.
type tab struct {
	t   testing.TB
	ctx context.Context

	mu        sync.Mutex
	complaint []string          // of console, policies and scripts
	hosts     map[string]bool   // that were asked for something
	protocols map[string]string // of answers, by host
}

// tabTime bounds all that a test does in one tab: hundreds of steps, of which none
// alone has a bound.
const tabTime = 5 * patience

var tabs atomic.Int64

// openTab starts a browser. It takes the certificates with the given keys, whoever
// has signed them: it knows no authorities but its own.
func openTab(t testing.TB, certs ...tls.Certificate) *tab {
	t.Helper()
	var keys []string
	for _, c := range certs {
		sum := sha256.Sum256(c.Leaf.RawSubjectPublicKeyInfo)
		keys = append(keys, base64.StdEncoding.EncodeToString(sum[:]))
	}
	dir := t.TempDir()
	mark := markOf(t) + fmt.Sprintf("tab%d.", tabs.Add(1)) // a test may have several
	env := slices.DeleteFunc(basicEnv(t), func(v string) bool { return strings.HasPrefix(v, markVariable) || strings.HasPrefix(v, "HOME=") })
	o := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(findBrowser(t)), chromedp.UserDataDir(dir), chromedp.NoInheritEnv,
		chromedp.Env(append(env, markVariable+"="+mark, "HOME="+dir, "XDG_CACHE_HOME="+dir, "XDG_CONFIG_HOME="+dir)...),
		chromedp.Flag("ignore-certificate-errors-spki-list", strings.Join(keys, ",")),
		chromedp.Flag("no-proxy-server", true), chromedp.Flag("disable-gpu", true),
		chromedp.WSURLReadTimeout(patience),
	)
	if os.Geteuid() == 0 {
		o = append(o, chromedp.NoSandbox)
	}
	above, cancel := context.WithTimeout(context.Background(), tabTime)
	t.Cleanup(cancel)
	alloc, cancelAlloc := chromedp.NewExecAllocator(above, o...)
	t.Cleanup(cancelAlloc)
	b := &tab{t: t, hosts: map[string]bool{}, protocols: map[string]string{}}
	ctx, cancelTab := chromedp.NewContext(alloc)
	b.ctx = ctx
	t.Cleanup(func() {
		cancelTab()
		chromedp.FromContext(ctx).Allocator.Wait()
		// It does not wait for its own processes.
		if !eventually(patience, func() bool { return len(marked(mark)) == 0 }) {
			t.Errorf("left running: %s", describe(marked(mark)))
		}
	})
	if err := chromedp.Listen(ctx, b.event); err != nil {
		t.Fatal(err)
	}
	_, err1 := chromedp.Call(ctx, audits.Enable, cdp.Empty{})
	_, err2 := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return b
}

// event must be quick.
func (b *tab) event(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	add := func(format string, args ...any) { b.complaint = append(b.complaint, fmt.Sprintf(format, args...)) }
	switch ev := ev.(type) {
	case *cdplog.EventEntryAdded:
		if ev.Entry.Level == "error" || ev.Entry.Level == "warning" {
			add("%s: %s (%s)", ev.Entry.Source, ev.Entry.Text, ev.Entry.URL)
		}
	case *runtime.EventConsoleAPICalled:
		add("console.%s", ev.Type)
	case *runtime.EventExceptionThrown:
		add("exception: %s", ev.ExceptionDetails.Text)
	case *audits.EventIssueAdded:
		if ev.Issue.Code != "BounceTrackingIssue" { // signing in does lead by another name and back
			add("issue: %s", ev.Issue.Code)
		}
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(ev.Request.URL); err == nil && u.Scheme != "data" {
			b.hosts[u.Host] = true
		}
	case *network.EventWebSocketCreated:
		if u, err := url.Parse(ev.URL); err == nil {
			b.hosts[u.Host] = true
		}
	case *network.EventResponseReceived:
		if u, err := url.Parse(ev.Response.URL); err == nil {
			b.protocols[u.Host] = ev.Response.Protocol
		}
	}
}

// quiet checks that nothing was wrong so far, and that nobody was asked for
// anything but these hosts.
func (b *tab) quiet(hosts ...string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.complaint {
		b.t.Errorf("the browser complains: %s", c)
	}
	for _, h := range hosts {
		delete(b.hosts, h)
	}
	for h := range b.hosts {
		b.t.Errorf("the browser asked %s", h)
	}
	b.complaint, b.hosts = nil, map[string]bool{}
}

func (b *tab) protocol(host string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.protocols[host]
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatalf("%v, at %s", err, b.where())
	}
}

// open goes to an address, and by where that leads.
func (b *tab) open(address string) {
	b.t.Helper()
	b.do(chromedp.Navigate(address))
}

func (b *tab) where() string {
	s, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("location.href"))
	return s
}

// eval returns the value of an expression.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, func(p *runtime.EvaluateParams) { p.AwaitPromise = new(true) }))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for an expression to be true.
func (b *tab) until(expression string) {
	b.t.Helper()
	holds := func() bool {
		ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression))
		return err == nil && ok // there is no page for a moment between two
	}
	if !eventually(patience, holds) {
		text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
		b.t.Fatalf("never %s, at %s: %s", expression, b.where(), clip(text))
	}
}

// at waits until the tab is at an address.
func (b *tab) at(address string) {
	b.t.Helper()
	b.until(fmt.Sprintf("document.readyState === 'complete' && location.href === %q", address))
}

// press types keys.
func (b *tab) press(keys string, o ...chromedp.KeyOption) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys, o...))
}

// slash types one, as one event: what the page prevents must not come as another.
func (b *tab) slash() {
	b.t.Helper()
	for _, kind := range []input.DispatchKeyEventType{"keyDown", "keyUp"} {
		p := input.DispatchKeyEventParams{Type: kind, Key: "/", Code: "Slash", WindowsVirtualKeyCode: 191}
		if kind == "keyDown" {
			p.Text = "/"
		}
		if _, err := chromedp.Call(b.ctx, input.DispatchKeyEvent, p); err != nil {
			b.t.Fatal(err)
		}
	}
}

// allow lets pages use the clipboard.
func (b *tab) allow(permission string) {
	b.t.Helper()
	_, err := chromedp.CallBrowser(b.ctx, browser.SetPermission, browser.SetPermissionParams{
		Permission: &browser.PermissionDescriptor{Name: permission}, Setting: browser.PermissionSettingGranted,
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// scheme is how the user likes it: light or dark.
func (b *tab) scheme(name string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
	})
	if err != nil {
		b.t.Fatal(err)
	}
}
