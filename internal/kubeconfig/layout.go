package kubeconfig

import (
	"bytes"
	"encoding/json"

	"go.yaml.in/yaml/v3"
)

// layout is how a YAML file is indented.
type layout struct {
	indent  int  // of a mapping in a mapping
	compact bool // lists are not indented, as in what kubectl writes
}

// layoutOf takes the layout of the first list and the first mapping in n, or
// else kubectl's.
func layoutOf(n *yaml.Node) layout {
	l := layout{compact: true}
	listed := false
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		for i, value := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 1 && value.Style&yaml.FlowStyle == 0 && len(value.Content) > 0 {
				key := n.Content[i-1]
				switch {
				case value.Kind == yaml.SequenceNode && !listed:
					l.compact, listed = value.Column == key.Column, true
					if !l.compact {
						l.indent = value.Column - key.Column
					}
				case value.Kind == yaml.MappingNode && l.indent == 0 && value.Line > key.Line:
					l.indent = value.Column - key.Column
				}
			}
			walk(value)
		}
	}
	walk(n)
	if l.indent < 2 || l.indent > 8 {
		l.indent = 2
	}
	return l
}

// encodeJSON writes n as JSON, indented as data is.
func encodeJSON(data []byte, n *yaml.Node) ([]byte, error) {
	var plain, out bytes.Buffer
	if err := writeJSON(&plain, n); err != nil {
		return nil, err
	}
	trimmed := bytes.TrimSpace(data)
	_, second, lines := bytes.Cut(trimmed, []byte("\n"))
	if !lines {
		out = plain
	} else {
		indent := second[:len(second)-len(bytes.TrimLeft(second, " \t"))]
		if err := json.Indent(&out, plain.Bytes(), "", string(indent)); err != nil {
			return nil, err
		}
	}
	if bytes.HasSuffix(data, []byte("\n")) {
		out.WriteByte('\n')
	}
	return out.Bytes(), nil
}

func writeJSON(w *bytes.Buffer, n *yaml.Node) error {
	n = target(n)
	switch n.Kind {
	case yaml.MappingNode:
		w.WriteByte('{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				w.WriteByte(',')
			}
			if err := writeString(w, n.Content[i].Value); err != nil {
				return err
			}
			w.WriteByte(':')
			if err := writeJSON(w, n.Content[i+1]); err != nil {
				return err
			}
		}
		w.WriteByte('}')
	case yaml.SequenceNode:
		w.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				w.WriteByte(',')
			}
			if err := writeJSON(w, item); err != nil {
				return err
			}
		}
		w.WriteByte(']')
	default:
		if n.ShortTag() == "!!str" {
			return writeString(w, n.Value)
		}
		w.WriteString(n.Value)
	}
	return nil
}

func writeString(w *bytes.Buffer, s string) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return err
	}
	w.Truncate(w.Len() - 1) // its new line
	return nil
}
