// Package plain makes text from elsewhere, such as a server's answer or a
// file's content, fit for one line on a terminal.
package plain

import (
	"fmt"
	"strings"
	"unicode"
)

// Copyable returns s on one line with each character that a terminal might obey,
// and each byte that is no UTF-8, as a question mark. White space stays as it
// is, unlike in Line: what is to be copied, such as a command line or a path,
// loses nothing that it may have in good faith.
func Copyable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, s)
}

// Line returns s as one line without control characters and bytes that are no
// UTF-8, with runs of white space folded, cut to at most most characters. Zero
// does not cut.
func Line(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); most > 0 && len(r) > most {
		s = string(r[:most]) + "..."
	}
	return s
}

// Some joins names for people, and of many says how many more there are.
func Some(names []string, between string) string {
	const most = 8
	if n := len(names); n > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], between), n-most)
	}
	return strings.Join(names, between)
}
