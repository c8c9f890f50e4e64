package reversetunnel

import (
	"strings"
	"testing"
)

// A resource that is named is the one that is meant, whatever the address beside it:
// another one is not dialled in its place.
func TestNamedResource(t *testing.T) {
	a := &Agent{Services: []Service{
		{Resource: Resource{Kind: KindNode, Name: "node1"}},
		{Resource: Resource{Kind: KindDB, Name: "orders"}},
	}}
	for _, tt := range []struct {
		request DialRequest
		want    string // the resource, or part of the error
	}{
		{DialRequest{ConnType: KindNode, Resource: "node1", Address: "other:22"}, "node node1"},
		{DialRequest{ConnType: KindNode, Address: "node1:22"}, "node node1"},
		{DialRequest{ConnType: KindNode, Address: "node1"}, "node node1"},
		{DialRequest{ConnType: KindNode, Resource: "node2", Address: "node1:22"}, `no node "node2"`},
		{DialRequest{ConnType: KindNode, Resource: "orders", Address: AddressLocal}, `no node "orders"`},
		{DialRequest{ConnType: KindDB, Address: "node1:22"}, "does not connect"},
		{DialRequest{ConnType: KindDB, Address: AddressLocal}, "db orders"},
		{DialRequest{ConnType: KindApp, Address: AddressLocal}, "no resource of the kind"},
	} {
		s, err := a.find(tt.request)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = s.String()
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("%+v: %s, want %s", tt.request, got, tt.want)
		}
	}
}
