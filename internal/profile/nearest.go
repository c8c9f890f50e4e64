package profile

import "strings"

// Nearest is the one of names that was probably meant by name: it contains
// name, is contained in it, or is a few typing errors away. It is empty when
// none comes close. Case does not count.
func Nearest(name string, names []string) string {
	name = strings.ToLower(name)
	if name == "" {
		return ""
	}
	most := max(1, len(name)/3)
	best, least := "", 0
	for _, candidate := range names {
		lower := strings.ToLower(candidate)
		d := distance(name, lower)
		part := min(len(name), len(lower)) > 1 && (strings.Contains(lower, name) || strings.Contains(name, lower))
		if (d <= most || part) && (best == "" || d < least) {
			best, least = candidate, d
		}
	}
	return best
}

// distance counts the bytes to insert, delete, replace or swap with their
// neighbour to turn a into b (optimal string alignment).
func distance(a, b string) int {
	older, old, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range old {
		old[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := old[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(old[j]+1, row[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
		older, old, row = old, row, older
	}
	return old[len(b)]
}
