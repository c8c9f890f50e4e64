package kubeconfig

import (
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime"
	apiv1 "k8s.io/client-go/tools/clientcmd/api/v1"
)

// mismatchError finds out where data does not have the shape of a kubeconfig.
// The decoder's own word, err, has no place in it.
func mismatchError(path string, data []byte, err error) error {
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) == nil && len(doc.Content) > 0 {
		if n, found := mismatch(doc.Content[0], reflect.TypeFor[apiv1.Config](), ""); n != nil {
			return &ParseError{path, n.Line, found}
		}
	}
	return &ParseError{Path: path, Err: errors.New(strings.TrimPrefix(err.Error(), "json: "))}
}

// mismatch returns the first node under n that does not fit a value of type t,
// and why. At is the keys that lead to n.
func mismatch(n *yaml.Node, t reflect.Type, at string) (*yaml.Node, error) {
	n = target(n)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	have := kindOf(n)
	if have == "nothing" || t == reflect.TypeFor[runtime.RawExtension]() {
		return nil, nil
	}
	want := wanted(t)
	if at == "" {
		at = "the document"
	}
	if have != want {
		return n, fmt.Errorf("%s: wants %s, has %s", at, want, have)
	}
	below := func(key string) string { return strings.TrimPrefix(at+"."+key, "the document.") }
	switch {
	case t == reflect.TypeFor[[]byte]():
		if _, err := base64.StdEncoding.DecodeString(n.Value); err != nil {
			return n, fmt.Errorf("%s: is no base64", at)
		}
	case t.Kind() == reflect.Slice:
		for _, item := range n.Content {
			if n, err := mismatch(item, t.Elem(), at); n != nil {
				return n, err
			}
		}
	case t.Kind() == reflect.Map:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n, err := mismatch(n.Content[i+1], t.Elem(), below(n.Content[i].Value)); n != nil {
				return n, err
			}
		}
	case t.Kind() == reflect.Struct:
		for f := range t.Fields() {
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if value := child(n, key); value != nil {
				if n, err := mismatch(value, f.Type, below(key)); n != nil {
					return n, err
				}
			}
		}
	}
	return nil, nil
}

// wanted is what a value of type t is in a file, in the words of kindOf.
func wanted(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Struct || t.Kind() == reflect.Map:
		return "a mapping"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.String || t == reflect.TypeFor[[]byte]():
		return "a string"
	}
	return "a list"
}

// oldBooleans are more words than YAML 1.2 has; kubectl's parser knows them.
var oldBooleans = []string{"y", "n", "yes", "no", "on", "off"}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!bool":
		return "true or false"
	case "!!int", "!!float":
		return "a number"
	}
	if n.Style == 0 && slices.Contains(oldBooleans, strings.ToLower(n.Value)) {
		return "true or false"
	}
	return "a string"
}

// child returns the value of key in the mapping n, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	if n = target(n); n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if target(n.Content[i]).Value == key {
			return target(n.Content[i+1])
		}
	}
	return nil
}

// target returns what n stands for if it is an alias.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
