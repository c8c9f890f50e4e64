package main

import (
	"strings"
	"unicode/utf8"

	"tshx/internal/plain"
)

// table lines up texts from anywhere. An empty row ends a table, and the next one
// has columns of its own.
type table struct {
	rows [][]string
}

// widest is the most characters of a cell that others are in line with.
const widest = 60

// row adds one. Cells are cut to widest, but for the first, which is a name that
// people copy, and the last.
func (t *table) row(texts ...string) {
	for i, text := range texts {
		texts[i] = plain.Copyable(text)
		if r := []rune(texts[i]); i > 0 && i < len(texts)-1 && len(r) > widest {
			texts[i] = string(r[:widest-1]) + "…"
		}
	}
	t.rows = append(t.rows, texts)
}

// String is the table in lines. A name that is wider than widest moves the rest of
// its own row only.
func (t *table) String() string {
	var b strings.Builder
	var widths []int
	for at, row := range t.rows {
		if at == 0 || len(t.rows[at-1]) == 0 {
			widths = columns(t.rows[at:])
		}
		for i, text := range row {
			b.WriteString(text)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", max(widths[i]-utf8.RuneCountInString(text), 0)+2))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// columns are the widths of the first table of rows.
func columns(rows [][]string) (widths []int) {
	for _, row := range rows {
		if len(row) == 0 {
			break
		}
		widths = append(widths, make([]int, max(len(row)-len(widths), 0))...)
		for i, text := range row {
			widths[i] = max(widths[i], min(utf8.RuneCountInString(text), widest))
		}
	}
	return widths
}
