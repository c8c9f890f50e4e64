package dbproxy

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// ClientFile is what programs of an engine read about one database: a section
// of a file in the user's home directory (docs/protocol.md, "Databases").
type ClientFile struct {
	Name     string   // below the home directory
	Variable string   // the environment variable that names another file; may be empty
	Section  string   // without brackets
	Settings []string // the section's lines
	Use      []string // a command that uses the section
	Env      []string // variables, KEY=value, that make programs use it
}

// Path is where the file is for a user with this home directory and
// environment.
func (f ClientFile) Path(home string, getenv func(string) string) string {
	other := ""
	if f.Variable != "" {
		other = getenv(f.Variable)
	}
	return cmp.Or(other, filepath.Join(home, f.Name))
}

// Write writes the section into the file at path; see WriteSection.
func (f ClientFile) Write(path string) error { return WriteSection(path, f.Section, f.Settings) }

// ErrUnwritable says that a section's name or a setting would be read as
// something else: it has a line break, a bracket or nothing in it, or begins a
// comment.
var ErrUnwritable = errors.New("cannot be written to a file of lines and sections")

// SetSection returns the content of a client's file with the section holding
// exactly these settings: in the place where it was, or at the end. The section
// is ours from its header to its last setting, but for comments and lines that
// begin with "!"; these, other sections, their order and the line endings stay.
// It is old again if the section says the same already. Section and settings
// must be fit for a line (see ErrUnwritable).
func SetSection(old []byte, section string, settings []string) []byte {
	mark, lines, end := splitLines(old)
	kept, at, found := takeSection(lines, section)
	if !found && len(kept) > 0 {
		if last := &kept[len(kept)-1]; !strings.HasSuffix(*last, "\n") {
			if *last += end; strings.HasSuffix(*last, "\r\r\n") { // half of an end was there
				*last = strings.TrimSuffix(*last, end) + "\n"
			}
		}
		kept = append(kept, end)
		at = len(kept)
	}
	block := []string{"[" + section + "]" + end}
	for _, s := range settings {
		block = append(block, s+end)
	}
	return []byte(mark + strings.Join(slices.Insert(kept, at, block...), ""))
}

// DropSection returns the content of a client's file without the section, and
// whether it was there. Comments within the section stay.
func DropSection(old []byte, section string) ([]byte, bool) {
	mark, lines, _ := splitLines(old)
	kept, at, found := takeSection(lines, section)
	if !found {
		return old, false
	}
	// The empty line that SetSection put before the section, unless it parts
	// others now.
	empty := func(i int) bool { return strings.TrimSpace(kept[i]) == "" }
	if at > 0 && empty(at-1) && (at == len(kept) || empty(at)) {
		kept = slices.Delete(kept, at-1, at)
	}
	return []byte(mark + strings.Join(kept, "")), true
}

// takeSection returns the lines without those of the section, of which there
// may be several parts, and where the first one was.
func takeSection(lines []string, section string) (kept []string, at int, found bool) {
	inside := false
	for _, line := range lines {
		text := strings.TrimSpace(line)
		if name, ok := headerOf(text); ok {
			inside = name == section
			if inside && !found {
				at, found = len(kept), true
			}
			if inside {
				continue
			}
		}
		if !inside || !isSetting(text) {
			kept = append(kept, line)
		}
	}
	return kept, at, found
}

// headerOf returns the section's name of a header line. What follows the bracket
// is not looked at, as the programs do not.
func headerOf(text string) (string, bool) {
	text, ok := strings.CutPrefix(text, "[")
	if !ok {
		return "", false
	}
	name, _, closed := strings.Cut(text, "]")
	return strings.TrimSpace(name), closed
}

func isSetting(text string) bool { return text != "" && !strings.ContainsRune("#;!", rune(text[0])) }

// splitLines returns the lines of a file, each with its end, the end that new
// lines take, and the mark that some editors put before the first line.
func splitLines(data []byte) (mark string, lines []string, end string) {
	const byteOrderMark = "\ufeff"
	text := string(data)
	if rest, ok := strings.CutPrefix(text, byteOrderMark); ok {
		mark, text = byteOrderMark, rest
	}
	lines = slices.Collect(strings.Lines(text))
	end = "\n"
	if len(lines) > 0 && strings.HasSuffix(strings.TrimSuffix(lines[0], "\n"), "\r") {
		end = "\r\n"
	}
	return mark, lines, end
}

// checkSection returns ErrUnwritable for what cannot be written.
func checkSection(section string, settings []string) error {
	if section != strings.TrimSpace(section) || section == "" || strings.ContainsAny(section, "[]\r\n\x00") {
		return fmt.Errorf("section %q: %w", section, ErrUnwritable)
	}
	for _, s := range settings {
		_, header := headerOf(strings.TrimSpace(s))
		if header || !isSetting(strings.TrimSpace(s)) || strings.ContainsAny(s, "\r\n\x00") {
			return fmt.Errorf("section %q, setting %q: %w", section, s, ErrUnwritable)
		}
	}
	return nil
}
