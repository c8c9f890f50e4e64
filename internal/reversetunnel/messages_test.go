package reversetunnel

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseDial(t *testing.T) {
	for payload, want := range map[string]DialRequest{
		"node1:22":    {Address: "node1:22", ConnType: KindNode},
		"@local-node": {Address: "@local-node", ConnType: KindNode},
		`{"address":"@local-node","server_id":"u.c","conn_type":"db","teleport_version":"17.0.0","client_src_addr":"1.2.3.4:5","client_dst_addr":"6.7.8.9:10","new":1}`: {
			Address: "@local-node", ServerID: "u.c", ConnType: KindDB, Version: "17.0.0", ClientSrc: "1.2.3.4:5", ClientDst: "6.7.8.9:10"},
		` {"tshx_resource":"a"} `: {Resource: "a", ConnType: KindNode},
	} {
		got, err := ParseDial([]byte(payload))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", payload, err, diff)
		}
	}
	for _, payload := range []string{"", "  ", "{}", "{", `{"address":1}`, `{"conn_type":"db"}`, strings.Repeat("x", maxName+1), strings.Repeat(" {", maxMessage)} {
		if r, err := ParseDial([]byte(payload)); err == nil {
			t.Errorf("%.20q is taken for %+v", payload, r)
		}
	}
}

func TestParseDiscovery(t *testing.T) {
	ids, err := ParseDiscovery([]byte(`{"proxies":[{"version":"v2","metadata":{"name":"p1"}},{"version":"v2","kind":"proxy","metadata":{"name":"p2"}},{"metadata":{"name":"p1"}}]}`))
	if diff := cmp.Diff([]string{"p1", "p2"}, ids); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if got := string(MarshalDiscovery([]string{"p1"})); got != `{"proxies":[{"version":"v2","metadata":{"name":"p1"}}]}` {
		t.Errorf("sent as %s", got)
	}
	for _, payload := range []string{"", "[]", `{"proxies":[{}]}`, `{"proxies":{}}`, `{"proxies":[` + strings.Repeat(`{},`, maxProxies) + `{}]}`} {
		if ids, err := ParseDiscovery([]byte(payload)); err == nil {
			t.Errorf("%.20q is taken for %q", payload, ids)
		}
	}
}

func TestParseAnnouncement(t *testing.T) {
	want := Announcement{[]Resource{{Kind: KindDB, Name: "orders", Protocol: "postgres"}, {Kind: KindNode, Name: "n"}}}
	got, err := ParseAnnouncement(want.Marshal())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, payload := range []string{"", `{"resources":[{"kind":"door","name":"a"}]}`, `{"resources":[{"kind":"db"}]}`,
		`{"resources":[{"kind":"node","name":"a\u0015rm -rf ~\n"}]}`, `{"resources":[{"kind":"node","name":"a\u202eb"}]}`} {
		if a, err := ParseAnnouncement([]byte(payload)); err == nil {
			t.Errorf("%q is taken for %v", payload, a)
		}
	}
}

func TestHasRole(t *testing.T) {
	for ext, want := range map[string]bool{"Node": true, "node": true, "Db, Node": true, "Nodes": false, "": false, "Db": false} {
		if HasRole(ext, "Node") != want {
			t.Errorf("%q has Node: %v", ext, !want)
		}
	}
}

// What is understood can be said again, and is within its bounds.
func FuzzParseDial(f *testing.F) {
	for _, s := range []string{"node1:22", "@local-node", string(node("node1")), "{", `{"address":"\ud800"}`, strings.Repeat("\xff", maxName-1)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseDial(b)
		if err != nil {
			return
		}
		if r.ConnType == "" || r.Address+r.Resource == "" || len(r.Address) > maxName {
			t.Fatalf("%q became %+v", b, r)
		}
		again, err := ParseDial(r.Marshal())
		var whole DialRequest
		if json.Unmarshal(r.Marshal(), &whole); err != nil || again != whole {
			t.Fatalf("%+v became %+v: %v", r, again, err)
		}
	})
}

func FuzzParseDiscovery(f *testing.F) {
	f.Add(MarshalDiscovery([]string{"a", "b"}))
	f.Add([]byte(`{"proxies":[{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ids, err := ParseDiscovery(b)
		if err != nil {
			return
		}
		again, err := ParseDiscovery(MarshalDiscovery(ids))
		if err != nil || len(again) != len(ids) {
			t.Fatalf("%q became %q: %v", ids, again, err)
		}
	})
}
