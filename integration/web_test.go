//go:build linux

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"tshx/internal/lab"
)

// webWays runs a test by each way to the lab, in a browser that has not been
// there yet.
func webWays(t *testing.T, f func(t *testing.T, w *webLab, b *tab, way webWay)) {
	findBrowser(t)
	w := web.get(t)
	for _, way := range w.ways() {
		t.Run(way.name, func(t *testing.T) {
			f(t, w, w.tab(t), way)
		})
	}
}

// A link signs in once; the page lists what there is and asks nobody else for
// anything.
func TestWebPage(t *testing.T) {
	webWays(t, func(t *testing.T, w *webLab, b *tab, way webWay) {
		page := "https://" + way.addr + "/"
		b.open(page)
		b.at(page + "web/login")
		b.quiet(way.addr)
		link := w.WebLink(way.addr, lab.HomeOptions{})
		b.open(link)
		b.until("document.activeElement.innerText === 'Continue as alice'")
		b.press("\r")
		b.at(page)
		if got := b.protocol(way.addr); got != way.protocol {
			t.Errorf("spoken %q, want %q", got, way.protocol)
		}
		want := map[string][]string{
			"node1": {"tshx ssh root@node1"}, "node2": {"tshx ssh root@node2"},
			"cache": {"tshx db connect cache", "tshx proxy db cache --tunnel"},
			"echo":  {"tshx proxy app echo"}, "hello": {"tshx proxy app hello"}, "page": {"tshx proxy app page"}, "down": {"tshx proxy app down"},
			"demo": {"tshx kube login demo", "tshx proxy kube demo"},
		}
		got := eval[map[string][]string](b, `Object.fromEntries([...document.querySelectorAll(".item")].map(i =>
			[i.querySelector("h3").innerText, [...i.querySelectorAll("code")].map(c => c.innerText)]))`)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if got := eval[[]string](b, `[...document.querySelectorAll("h2")].map(h => h.innerText.replace(/\s+/g, " "))`); !slices.Equal(got, []string{"Nodes 2", "Databases 1", "Applications 4", "Kubernetes 1"}) {
			t.Errorf("sections %q", got)
		}
		b.quiet(way.addr)
		b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("header button").click()`))
		b.at(page + "web/login?out")
		b.until("document.body.innerText.includes('You are logged out')")
		b.open(page)
		b.at(page + "web/login")
		b.quiet(way.addr)
		second := w.tab(t)
		second.open(link)
		second.until("document.body.innerText.includes('This link is used up')")
	})
}

// Somebody who came for an app gets there by signing in, and its page works:
// cookies of its own alone, a WebSocket, events. Logging out ends all of it.
func TestWebApp(t *testing.T) {
	webWays(t, func(t *testing.T, w *webLab, b *tab, way webWay) {
		app := "https://" + way.below("page") + "/"
		b.open(app)
		b.until(fmt.Sprintf("location.href.startsWith(%q)", "https://"+way.addr+"/web/login?app=page&"))
		w.signIn(b, way)
		b.at(app)
		b.until(`document.title.includes("tick") && document.title.includes("dong") && document.title.includes("bytes")`)
		var got struct{ Event, Socket, Headers string }
		if err := json.Unmarshal([]byte(eval[string](b, "document.title")), &got); err != nil {
			t.Fatal(err)
		}
		if want := "1048576 bytes, host " + way.below("page") + ", cookie own=biscuit"; got.Headers != want || got.Socket != "ding dong" || got.Event != "tick" {
			t.Errorf("%+v, want %q", got, want)
		}
		if got := b.protocol(way.below("page")); got != way.protocol {
			t.Errorf("spoken %q, want %q", got, way.protocol)
		}
		b.quiet(way.addr, way.below("page"))
		b.cookies(app, "https://"+way.addr+"/")
		if got := eval[string](b, "document.cookie"); got != "own=biscuit" {
			t.Errorf("the page's script sees the cookies %q", got)
		}
		// The app's page stays open while another one logs out.
		b.do(chromedp.Func(func(ctx context.Context, s *chromedp.Target) error {
			r, err := cdp.Call(ctx, s, network.GetCookies, network.GetCookiesParams{URLs: []string{"https://" + way.addr + "/"}})
			if err != nil {
				return err
			}
			var args []string
			for _, c := range r.Cookies {
				args = append(args, c.Name+"="+c.Value)
			}
			out := execute(t, options{}, "curl", "-sS", "--cacert", w.caFile, "-X", "POST", "-b", strings.Join(args, "; "), "-o", "/dev/null", "-w", "%{http_code}", "https://"+w.Addr+"/web/logout")
			if out != "303" {
				t.Errorf("log out: %s", out)
			}
			return nil
		}))
		b.until(`document.title.includes('"closed":true')`)
		b.open(app)
		b.until(fmt.Sprintf("location.href.startsWith(%q)", "https://"+way.addr+"/web/login?app=page&"))
	})
}

// cookies checks that we have set cookies at these addresses, as they must be.
func (b *tab) cookies(addresses ...string) {
	b.t.Helper()
	for _, address := range addresses {
		r, err := chromedp.Call(b.ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{address}})
		if err != nil {
			b.t.Fatal(err)
		}
		ours := 0
		for _, c := range r.Cookies {
			if !strings.HasPrefix(c.Name, "__Host-tshx_") {
				continue
			}
			ours++
			if !c.HTTPOnly || !c.Secure || c.Path != "/" || c.SameSite != "Lax" || strings.HasPrefix(c.Domain, ".") {
				b.t.Errorf("%s: %+v", address, c)
			}
		}
		if ours == 0 {
			b.t.Errorf("%s has set no cookie", address)
		}
	}
}

// An app that is down has a page that says so.
func TestWebAppDown(t *testing.T) {
	webWays(t, func(t *testing.T, w *webLab, b *tab, way webWay) {
		w.signIn(b, way)
		b.at("https://" + way.addr + "/")
		b.open("https://" + way.below("down") + "/")
		b.until(`document.body.innerText.includes('The app "down" does not answer') && document.body.innerText.includes("connection refused")`)
	})
}

// Without a mouse: the first stop skips to the list, each stop can be seen, and
// Enter copies what the button is for.
func TestWebKeyboard(t *testing.T) {
	findBrowser(t)
	w := web.get(t)
	b, way := w.tab(t), w.ways()[0]
	w.signIn(b, way)
	b.at("https://" + way.addr + "/")
	b.allow("clipboard-read")
	b.allow("clipboard-write")
	var stops []string
	for range 40 {
		b.press("\t")
		stop := eval[string](b, `(() => { const e = document.activeElement;
			if (e === document.body) return "";
			const s = getComputedStyle(e), r = e.getBoundingClientRect();
			if (s.outlineStyle !== "solid" || parseFloat(s.outlineWidth) < 2 || r.width < 10 || r.height < 10 || r.top < 0) return "cannot be seen: " + e.outerHTML;
			return e.getAttribute("aria-label") || e.name || e.innerText; })()`)
		if stop == "" {
			break
		}
		stops = append(stops, stop)
	}
	want := []string{
		"Skip to the resources", "Log out", "q", "Copy tshx ssh root@node1", "Copy tshx ssh root@node2",
		"Copy tshx db connect cache", "Copy tshx proxy db cache --tunnel", "Copy tshx proxy app echo", "Open hello", "Copy tshx proxy app hello",
		"Open page", "Copy tshx proxy app page", "Open down", "Copy tshx proxy app down", "Copy tshx kube login demo", "Copy tshx proxy kube demo",
	}
	if diff := cmp.Diff(want, stops); diff != "" {
		t.Fatal(diff)
	}
	b.open("https://" + way.addr + "/")
	eval[bool](b, `(window.setTimeout = () => 0) !== null`) // a button says that it has copied until somebody has seen it
	for range 5 {
		b.press("\t")
	}
	b.press("\r")
	b.until(`document.querySelector("#said").textContent === "Copied tshx ssh root@node2"`)
	if got := eval[string](b, "navigator.clipboard.readText()"); got != "tshx ssh root@node2" {
		t.Errorf("the clipboard has %q", got)
	}
	if got := eval[string](b, `document.activeElement.innerText`); got != "Copied" {
		t.Errorf("the button says %q", got)
	}
	// Where there is no clipboard for pages, it works as well.
	eval[bool](b, `delete Navigator.prototype.clipboard`)
	b.press("\t\r")
	b.until(`document.querySelector("#said").textContent === "Copied tshx db connect cache"`)
	if got := eval[string](b, `document.activeElement.getAttribute("aria-label")`); got != "Copy tshx db connect cache" {
		t.Errorf("the focus is on %q", got)
	}
	b.quiet(way.addr)
}

func TestWebSearch(t *testing.T) {
	findBrowser(t)
	w := web.get(t)
	b, way := w.tab(t), w.ways()[0]
	w.signIn(b, way)
	page := "https://" + way.addr + "/"
	b.at(page)
	shown := `[...document.querySelectorAll(".item:not([hidden]) h3")].map(h => h.innerText).join(" ")`
	is := func(names, found string) {
		t.Helper()
		b.until(fmt.Sprintf(`%s === %q && document.querySelector("#found").innerText === %q`, shown, names, found))
	}
	is("node1 node2 cache echo hello page down demo", "8 resources")
	b.slash()
	b.press("REDIS")
	is("cache", "1 of 8 resources")
	if got := eval[int](b, `[...document.querySelectorAll("section")].filter(s => !s.hidden).length`); got != 1 {
		t.Errorf("%d sections are shown", got)
	}
	b.until(`document.querySelector("#said").textContent === "1 of 8 resources"`) // to those who do not see it
	b.press("nothing")
	is("", "0 of 8 resources")
	if !eval[bool](b, `!document.querySelector("#nothing").hidden`) {
		t.Error("nothing says that there is nothing")
	}
	b.press("\x1b")
	is("node1 node2 cache echo hello page down demo", "8 resources")
	b.press("proxy app\r") // goes nowhere
	is("echo hello page down", "4 of 8 resources")
	if at := b.where(); at != page {
		t.Errorf("at %s", at)
	}
	// The server does the same for browsers without scripts.
	b.open(page + "?q=proxy+app")
	is("echo hello page down", "4 of 8 resources")
	b.slash()
	b.press("\x1b")
	is("node1 node2 cache echo hello page down demo", "8 resources")
	b.quiet(way.addr)
}

// The page and the way in, light and dark, wide and narrow. TSHX_SCREENSHOTS names
// a directory to keep them in.
func TestWebLooks(t *testing.T) {
	findBrowser(t)
	w := web.get(t)
	b, way := w.tab(t), w.ways()[0]
	page := "https://" + way.addr + "/"
	shoot := func(name string) {
		for _, scheme := range []string{"light", "dark"} {
			b.scheme(scheme)
			for _, width := range []int64{1100, 360} {
				b.do(chromedp.EmulateViewport(width, 800))
				if over := eval[int](b, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
					t.Errorf("%s is %d pixels wider than %d", name, over, width)
				}
				if low := eval[[]string](b, contrasts); len(low) > 0 {
					t.Errorf("%s %s: hard to read: %q", name, scheme, low)
				}
				png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
				if err != nil {
					t.Fatal(err)
				}
				if dir := os.Getenv("TSHX_SCREENSHOTS"); dir != "" {
					if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%d.png", name, scheme, width)), png, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			b.do(chromedp.EmulateViewport(1100, 800))
		}
	}
	b.open(page)
	b.at(page + "web/login")
	shoot("login")
	b.open(w.WebLink(way.addr, lab.HomeOptions{}))
	b.until("document.activeElement.innerText === 'Continue as alice'")
	shoot("link")
	b.press("\r")
	b.at(page)
	shoot("page")
	b.slash()
	b.press("zzz")
	b.until(`!document.querySelector("#nothing").hidden`)
	shoot("nothing")
	b.open("https://" + way.below("down") + "/")
	b.until(`document.body.innerText.includes("does not answer")`)
	shoot("down")
}

// contrasts lists texts with less contrast than WCAG 2.2 wants for small ones
// (success criterion 1.4.3).
const contrasts = `(() => {
	const parse = (c) => c.match(/[\d.]+/g).map(Number);
	const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] !== 0) return c; } return [255, 255, 255]; };
	const low = [];
	for (const e of document.querySelectorAll("body *")) {
		if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.closest("script")) continue;
		const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) low.push(e.tagName + " " + e.innerText + " " + ratio.toFixed(2));
	}
	return low;
})()`

// curl signs in with the certificate of the login, and the names of the apps are
// in the certificates.
func TestWebCertificate(t *testing.T) {
	need(t, "curl")
	w := web.get(t)
	certs, err := filepath.Glob(filepath.Join(w.home, "keys", "localhost", "alice.crt"))
	if err != nil || len(certs) != 1 {
		t.Fatalf("certificates %q, %v", certs, err)
	}
	jar := filepath.Join(t.TempDir(), "jar")
	curl := func(args ...string) string {
		t.Helper()
		return execute(t, options{}, append([]string{"curl", "-sS", "--cacert", w.caFile, "-b", jar, "-c", jar, "-L", "-H", "Accept: text/html"}, args...)...)
	}
	key := strings.TrimSuffix(certs[0], ".crt") + ".key"
	if out := curl("--cert", certs[0], "--key", key, "--data", "", "https://"+w.Addr+"/web/login"); !strings.Contains(out, "Signed in as <strong>alice</strong>") {
		t.Fatalf("curl: %s", clip(out))
	}
	port := strings.TrimPrefix(w.Addr, "localhost:")
	resolve := "page.localhost:" + port + ":127.0.0.1"
	out := curl("--resolve", resolve, "https://page.localhost:"+port+"/headers")
	if want := "0 bytes, host page.localhost:" + port + ", cookie "; out != want {
		t.Errorf("%s, want %s", clip(out), want)
	}
	out = execute(t, options{}, "curl", "-sS", "--cacert", w.caFile, "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "https://"+w.Addr+"/")
	if want := "303 https://" + w.Addr + "/web/login"; out != want {
		t.Errorf("without anything: %s, want %s", out, want)
	}
}
