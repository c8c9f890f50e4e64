package kubeconfig

import (
	"encoding/json"
	"errors"
	"reflect"

	"k8s.io/client-go/tools/clientcmd/api"
	apiv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/yaml"
)

// tree is a mapping as it is in a file, of strings, booleans, numbers, nil,
// []any and map[string]any.
type tree = map[string]any

// treeOf returns config in the form of a file, without kind and apiVersion.
func treeOf(config *api.Config) (tree, error) {
	var doc apiv1.Config
	if err := apiv1.Convert_api_Config_To_v1_Config(config, &doc, nil); err != nil {
		return nil, err
	}
	apiv1.SetObjectDefaults_Config(&doc)
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	var t tree
	if err := kjson.UnmarshalCaseSensitivePreserveInts(text, &t); err != nil {
		return nil, err
	}
	delete(t, "kind")
	delete(t, "apiVersion")
	return t, nil
}

// errUnsafe is for files that use YAML in ways that an edit cannot keep, such as
// one entry that is an alias of another.
var errUnsafe = errors.New("cannot be done without harm to other entries")

// verify checks an edit before it is written: what kubectl reads in changed is
// after, and what the edit was not about is in changed as it was in data, known
// to client-go or not.
func verify(data, changed []byte, before, after tree) error {
	config, err := decode("", changed)
	if err != nil {
		return errUnsafe
	}
	got, err := treeOf(config)
	if err != nil || !reflect.DeepEqual(got, after) {
		return errUnsafe
	}
	var old, now tree
	for _, f := range []struct {
		data []byte
		t    *tree
	}{{data, &old}, {changed, &now}} {
		text, err := kyaml.YAMLToJSON(f.data)
		if err == nil {
			err = kjson.UnmarshalCaseSensitivePreserveInts(text, f.t)
		}
		if err != nil {
			return errUnsafe
		}
	}
	if old == nil { // a new file
		return nil
	}
	if !reflect.DeepEqual(untouched(old, before, after), untouched(now, before, after)) {
		return errUnsafe
	}
	return nil
}

// untouched returns what of t an edit from before to after is not about: the
// keys, and in lists the names, that have one value in both.
func untouched(t, before, after tree) tree {
	rest := tree{}
	for key, value := range t {
		b, a := before[key], after[key]
		if reflect.DeepEqual(b, a) {
			rest[key] = value
			continue
		}
		list, _ := value.([]any)
		bs, as := byName(b), byName(a)
		if bs == nil || as == nil {
			continue // a value that was replaced
		}
		var items []any
		for _, item := range list {
			if name, _ := nameOf(item); reflect.DeepEqual(bs[name], as[name]) {
				items = append(items, item)
			}
		}
		if items != nil {
			rest[key] = items
		}
	}
	return rest
}

// byName returns the items of a list of mappings by their names, of which one
// may be empty. For nil it is an empty map, and nil for anything else.
func byName(v any) map[string]any {
	list, ok := v.([]any)
	if !ok && v != nil {
		return nil
	}
	items := map[string]any{}
	for _, item := range list {
		name, named := nameOf(item)
		if _, ok := items[name]; ok || !named {
			return nil
		}
		items[name] = item
	}
	return items
}

func nameOf(item any) (name string, ok bool) {
	m, ok := item.(tree)
	if m["name"] != nil {
		name, ok = m["name"].(string)
	}
	return name, ok
}
