package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

const (
	moduleRoot  = "../.."
	protocolDoc = "docs/protocol.md"
)

// headings returns the titles of a Markdown text in their order.
func headings(text string) []string {
	var titles []string
	for line := range strings.Lines(text) {
		if title := strings.TrimLeft(line, "#"); title != line && strings.HasPrefix(title, " ") {
			titles = append(titles, strings.TrimSpace(title))
		}
	}
	return titles
}

// anchor is what links to a heading call it.
func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}

// citations returns the titles that a comment cites from the document, written
// as: DOC, "One" and "Other". One without a title is returned as empty.
func citations(comment string) []string {
	var titles []string
	parts := strings.Split(strings.Join(strings.Fields(comment), " "), protocolDoc)
	for _, rest := range parts[1:] {
		quoted, ok := strings.CutPrefix(rest, `, "`)
		if !ok {
			titles = append(titles, "")
		}
		for ok {
			var title string
			if title, rest, ok = strings.Cut(quoted, `"`); ok {
				titles = append(titles, title)
				quoted, ok = strings.CutPrefix(rest, ` and "`)
			}
		}
	}
	return titles
}

// The protocol document has every section that the code cites, and every one
// that it links to itself.
func TestProtocolDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(moduleRoot, protocolDoc))
	if err != nil {
		t.Fatal(err)
	}
	titles, anchors := map[string]bool{}, map[string]bool{}
	for _, title := range headings(string(text)) {
		if anchors[anchor(title)] {
			t.Errorf("%s has %q twice", protocolDoc, title)
		}
		titles[title], anchors[anchor(title)] = true, true
	}
	for _, m := range regexp.MustCompile(`\]\(#([^)]*)\)`).FindAllStringSubmatch(string(text), -1) {
		if !anchors[m[1]] {
			t.Errorf("%s links to #%s, which it has not", protocolDoc, m[1])
		}
	}

	cited := 0
	err = filepath.WalkDir(moduleRoot, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != moduleRoot && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, group := range f.Comments {
			for _, title := range citations(group.Text()) {
				cited++
				if !titles[title] {
					t.Errorf("%s cites %q, which %s has not", set.Position(group.Pos()), title, protocolDoc)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if cited == 0 {
		t.Error("no citation was found")
	}
}

// What documents link to is there, down to the section.
func TestLinks(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(moduleRoot, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, filepath.Join(moduleRoot, "README.md"), filepath.Join(moduleRoot, "ARCHITECTURE.md"))
	link := regexp.MustCompile(`\]\(([^)#:\s]*)(?:#([^)]*))?\)`) // none with a scheme
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			found++
			target := file
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(file), m[1])
			}
			there, err := os.ReadFile(target)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			if m[2] != "" && !slices.ContainsFunc(headings(string(there)), func(title string) bool { return anchor(title) == m[2] }) {
				t.Errorf("%s links to %s#%s, which is not there", file, m[1], m[2])
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d links were found", found)
	}
}
