package kubeconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"
)

// rewrite returns data, whose content client-go knows as before, with the
// content after. What client-go does not know stays, with its comments, as do
// the order of entries, JSON, indentation and line ends.
func rewrite(data []byte, before, after tree) ([]byte, error) {
	var doc, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&doc); err != nil && err != io.EOF {
		return nil, err
	}
	if len(doc.Content) > 0 && dec.Decode(&more) != io.EOF {
		return nil, errors.New("the file has more than one YAML document")
	}
	if len(doc.Content) == 0 || kindOf(doc.Content[0]) == "nothing" {
		start, err := nodeOf(tree{"apiVersion": "v1", "kind": "Config"})
		if err != nil {
			return nil, err
		}
		doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{start}}
		before = nil
	}
	root := doc.Content[0]
	layout := layoutOf(root)
	if err := update(root, before, after); err != nil {
		return nil, err
	}
	if json.Valid(data) {
		return encodeJSON(data, root)
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(layout.indent)
	if layout.compact {
		enc.CompactSeqIndent()
	}
	if err := errors.Join(enc.Encode(&doc), enc.Close()); err != nil {
		return nil, err
	}
	if i := bytes.IndexByte(data, '\n'); i > 0 && data[i-1] == '\r' {
		return bytes.ReplaceAll(out.Bytes(), []byte("\n"), []byte("\r\n")), nil
	}
	return out.Bytes(), nil
}

// update brings n from before to after. Where before and after are the same it
// leaves n alone, whatever n has.
func update(n *yaml.Node, before, after any) error {
	b, wasMap := before.(tree)
	a, isMap := after.(tree)
	bs, as := byName(before), byName(after)
	switch {
	case reflect.DeepEqual(before, after):
		return nil
	case n.Kind == yaml.AliasNode:
		own := clone(n.Alias)
		*n = *own
		return update(n, before, after)
	case n.Kind == yaml.MappingNode && isMap && (wasMap || before == nil):
		return updateMap(n, b, a)
	case n.Kind == yaml.SequenceNode && len(n.Content) > 0 && bs != nil && as != nil:
		return updateList(n, bs, as)
	}
	fresh, err := nodeOf(after)
	if err != nil {
		return err
	}
	fresh.HeadComment, fresh.LineComment, fresh.FootComment = n.HeadComment, n.LineComment, n.FootComment
	*n = *fresh
	return nil
}

func updateMap(n *yaml.Node, before, after tree) error {
	n.Content = filterPairs(n.Content, func(key string) bool {
		_, was := before[key]
		_, is := after[key]
		return is || !was
	})
	for _, key := range slices.Sorted(maps.Keys(after)) {
		if reflect.DeepEqual(before[key], after[key]) {
			continue
		}
		if i := indexOf(n, key); i >= 0 {
			if err := update(n.Content[i+1], before[key], after[key]); err != nil {
				return err
			}
			continue
		}
		value, err := nodeOf(after[key])
		if err != nil {
			return err
		}
		name, err := nodeOf(key)
		if err != nil {
			return err
		}
		n.Content = slices.Insert(n.Content, placeFor(n, key), name, value)
	}
	return nil
}

// updateList updates a list of mappings with names. New ones go to its end.
func updateList(n *yaml.Node, before, after map[string]any) error {
	var kept []*yaml.Node
	for _, item := range n.Content {
		name := ""
		if v := child(item, "name"); v != nil {
			name = v.Value
		}
		_, was := before[name]
		_, is := after[name]
		if was && !is {
			continue
		}
		kept = append(kept, item)
		if err := update(item, before[name], after[name]); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, was := before[name]; was {
			continue
		}
		item, err := nodeOf(after[name])
		if err != nil {
			return err
		}
		kept = append(kept, item)
	}
	n.Content = kept
	return nil
}

func filterPairs(content []*yaml.Node, keep func(key string) bool) []*yaml.Node {
	var kept []*yaml.Node
	for i := 0; i+1 < len(content); i += 2 {
		if keep(target(content[i]).Value) {
			kept = append(kept, content[i], content[i+1])
		}
	}
	return kept
}

// indexOf returns the place of key in the content of the mapping n, or -1.
func indexOf(n *yaml.Node, key string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if target(n.Content[i]).Value == key {
			return i
		}
	}
	return -1
}

// placeFor returns where to insert key: by the alphabet, as kubectl sorts, or
// last if n has another order.
func placeFor(n *yaml.Node, key string) int {
	place, last := len(n.Content), ""
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i].Value
		if k < last {
			return len(n.Content)
		}
		if k > key && place == len(n.Content) {
			place = i
		}
		last = k
	}
	return place
}

// nodeOf makes a node of a part of a tree.
func nodeOf(v any) (*yaml.Node, error) {
	n := new(yaml.Node)
	if err := n.Encode(v); err != nil {
		return nil, err
	}
	return n, nil
}

// clone copies n without its anchors.
func clone(n *yaml.Node) *yaml.Node {
	c := *n
	c.Anchor, c.Content = "", nil
	for _, item := range n.Content {
		c.Content = append(c.Content, clone(item))
	}
	return &c
}
