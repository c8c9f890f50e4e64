package proxyserver

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Keys of a role do not outlive the client's certificate, in whatever form they are
// asked for: some SDKs declare the hash of each body, and what is asked for may be in
// the query.
func TestAWSLimitsSessionInAnyForm(t *testing.T) {
	u := newUser(t)
	sts := func(method, uri, body string) testCall {
		c := testCall{method: method, uri: uri, host: "sts.amazonaws.com", service: "sts", body: body}
		if body != "" {
			c.header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		}
		return c
	}
	declared := func(c testCall) testCall {
		sum := sha256.Sum256([]byte(c.body))
		c.hash = hex.EncodeToString(sum[:])
		return c
	}
	const long = "Action=AssumeRole&DurationSeconds=43200"
	bare := sts("POST", "/", long)
	bare.header = nil
	for name, call := range map[string]testCall{
		"form":                        sts("POST", "/", long),
		"form, hash declared":         declared(sts("POST", "/", long)),
		"form, without its type":      bare,
		"query, GET":                  sts("GET", "/?"+long, ""),
		"query, GET, hash declared":   declared(sts("GET", "/?"+long, "")),
		"query, POST":                 sts("POST", "/?"+long, ""),
		"duration in the query":       sts("POST", "/?DurationSeconds=43200", "Action=AssumeRole"),
		"duration in the form":        sts("POST", "/?Action=AssumeRole", "DurationSeconds=43200"),
		"the longer one second, form": sts("POST", "/", "Action=AssumeRole&DurationSeconds=900&DurationSeconds=43200"),
		"the longer one second":       sts("GET", "/?Action=AssumeRole&DurationSeconds=900&DurationSeconds=43200", ""),
		"another action first":        sts("POST", "/", "Action=GetCallerIdentity&"+long),
		"another action first, query": sts("POST", "/?Action=GetCallerIdentity", long),
	} {
		t.Run(name, func(t *testing.T) {
			up := startFakeAWS(t, awsReal)
			f := awsApp(t, up.URL)
			req := u.request(awsRoute())
			req.NotAfter = time.Now().Add(time.Hour).Truncate(time.Second)
			der, err := testAuthority().IssueTLS(req)
			if err != nil {
				t.Fatal(err)
			}
			cert := u.tls(awsRoute())
			cert.Certificate = [][]byte{der}
			resp, text := do(t, f.client(cert, "http/1.1"), call.request(t, f.addr, awsThrowAway))
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("%s: %s", resp.Status, text)
			}
			body, _ := url.ParseQuery(up.bodies[0])
			asked := append(up.seen[0].URL.Query()["DurationSeconds"], body["DurationSeconds"]...)
			if len(asked) == 0 {
				t.Errorf("asks AWS for what it likes: %s, %s", up.seen[0].URL, up.bodies[0])
			}
			for _, text := range asked {
				if n, err := strconv.Atoi(text); err != nil || n > 3600 {
					t.Errorf("asks AWS for %q s", text)
				}
			}
			if action := append(up.seen[0].URL.Query()["Action"], body["Action"]...); !strings.Contains(fmt.Sprint(action), "AssumeRole") {
				t.Errorf("asks for %q", action)
			}
		})
	}
}
