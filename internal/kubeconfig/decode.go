package kubeconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/client-go/tools/clientcmd/api"
	apiv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/yaml"
)

// ParseError says where a kubeconfig is broken. It has nothing of the values in
// the file, which may be secret.
type ParseError struct {
	Path string
	Line int // from 1; 0 if not known
	Err  error
}

func (e *ParseError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("%s: line %d: %v", e.Path, e.Line, e.Err)
}

func (e *ParseError) Unwrap() error { return e.Err }

// decode turns the content of the file at path to a configuration that shares
// nothing with data. Nothing, white space and null are empty ones.
func decode(path string, data []byte) (*api.Config, error) {
	text, err := kyaml.YAMLToJSON(data)
	if err != nil {
		return nil, syntaxError(path, err)
	}
	if err := checkKind(path, data, text); err != nil {
		return nil, err
	}
	var doc apiv1.Config
	if err := kjson.UnmarshalCaseSensitivePreserveInts(text, &doc); err != nil {
		return nil, mismatchError(path, data, err)
	}
	if err := checkNames(path, data, &doc); err != nil {
		return nil, err
	}
	apiv1.SetObjectDefaults_Config(&doc)
	config := api.NewConfig()
	if err := apiv1.Convert_v1_Config_To_api_Config(&doc, config, nil); err != nil {
		// The only thing that it can object to; its text has all the content.
		return nil, &ParseError{Path: path, Err: errors.New("the name of an extension appears twice in one entry")}
	}
	return config, nil
}

// syntaxError makes a ParseError of what the YAML parser says, such as
// "yaml: line 3: could not find expected ':'".
func syntaxError(path string, err error) error {
	text := err.Error()
	if i := strings.LastIndex(text, "yaml: "); i >= 0 {
		text = text[i+len("yaml: "):]
	}
	e := &ParseError{Path: path}
	var line int
	if n, _ := fmt.Sscanf(text, "line %d:", &line); n == 1 {
		e.Line = line
		_, text, _ = strings.Cut(text, ": ")
	}
	if strings.Contains(text, "map key") { // the one that quotes what it is about, with its value
		text = "a mapping has a key that is no string"
	}
	e.Err = errors.New(text)
	return e
}

// checkKind refuses what is no kubeconfig. Like kubectl it takes a document that
// does not say what it is for one.
func checkKind(path string, data, text []byte) error {
	var meta struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
	}
	if err := json.Unmarshal(text, &meta); err != nil {
		return mismatchError(path, data, err)
	}
	for _, f := range []struct{ key, have, want string }{
		{"kind", meta.Kind, "Config"},
		{"apiVersion", meta.APIVersion, "v1"},
	} {
		if f.have != "" && f.have != f.want {
			return &ParseError{path, lineOf(data, f.key), fmt.Errorf("%s is %q, not %s", f.key, f.have, f.want)}
		}
	}
	return nil
}

// checkNames refuses two entries of one name, as kubectl does.
func checkNames(path string, data []byte, doc *apiv1.Config) error {
	clusters := make([]string, len(doc.Clusters))
	for i, c := range doc.Clusters {
		clusters[i] = c.Name
	}
	users := make([]string, len(doc.AuthInfos))
	for i, u := range doc.AuthInfos {
		users[i] = u.Name
	}
	contexts := make([]string, len(doc.Contexts))
	for i, c := range doc.Contexts {
		contexts[i] = c.Name
	}
	for _, list := range []struct {
		key   string
		names []string
	}{{"clusters", clusters}, {"users", users}, {"contexts", contexts}} {
		seen := map[string]bool{}
		for i, name := range list.names {
			if seen[name] {
				return &ParseError{path, lineOf(data, list.key, i), fmt.Errorf("the name %q appears twice in %s", name, list.key)}
			}
			seen[name] = true
		}
	}
	return nil
}

// lineOf returns the line of what is at the given keys and indexes, or 0.
func lineOf(data []byte, at ...any) int {
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) != nil || len(doc.Content) == 0 {
		return 0
	}
	n := doc.Content[0]
	for _, step := range at {
		switch step := step.(type) {
		case string:
			n = child(n, step)
		case int:
			if n.Kind != yaml.SequenceNode || step >= len(n.Content) {
				return 0
			}
			n = target(n.Content[step])
		}
		if n == nil {
			return 0
		}
	}
	return n.Line
}
