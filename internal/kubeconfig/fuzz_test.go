package kubeconfig

import (
	"errors"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
)

// FuzzEdit logs in and out in any document. What clientcmd reads, Load reads as it
// does, and nothing else. An edit that is not refused has in it what the same
// change makes of clientcmd's configuration, and the rest as it was.
func FuzzEdit(f *testing.F) {
	for _, path := range documents(f) {
		f.Add([]byte(content(f, path)))
	}
	f.Add([]byte(tsh17))
	f.Fuzz(func(t *testing.T, data []byte) {
		want, theirs := clientcmd.Load(data)
		got, ours := decode("fuzz", data)
		if (theirs == nil) != (ours == nil) {
			t.Fatalf("clientcmd: %v, ours: %v", theirs, ours)
		}
		if ours != nil {
			var broken *ParseError
			if !errors.As(ours, &broken) {
				t.Fatalf("%v is no ParseError", ours)
			}
			return
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("not as clientcmd reads it (-want +got)\n%s", diff)
		}
		before, err := treeOf(want)
		if err != nil {
			t.Skip(err) // an extension that is no JSON
		}
		if login(want) != nil {
			return // our name is taken
		}
		text, err := edited("fuzz", data, login)
		if err != nil || text == nil {
			return // refused, or it has our login
		}
		read, err := clientcmd.Load(text)
		if err != nil {
			t.Fatalf("clientcmd on the result: %v\n%s", err, text)
		}
		same(t, "after login", want, read)
		for _, context := range got.Contexts {
			if context.AuthInfo == Name("real.example.com", "realkube") {
				return // a context that the login made one of its own
			}
		}
		if len(Teleport(got)) > 0 {
			return // a logout would remove more than our login
		}
		text, err = edited("fuzz", text, logout)
		if err != nil {
			t.Fatal(err)
		}
		restored, err := clientcmd.Load(text)
		if err != nil {
			t.Fatal(err)
		}
		after, err := treeOf(restored)
		if err != nil {
			t.Fatal(err)
		}
		if current := before["current-context"]; got.Contexts[current.(string)] == nil {
			delete(before, "current-context") // there was nothing to come back to
			delete(after, "current-context")
		}
		unmark(got)
		if !reflect.DeepEqual(before, after) {
			t.Errorf("after login and logout (-before +after)\n%s", cmp.Diff(before, after))
		}
	})
}
