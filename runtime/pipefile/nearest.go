package pipefile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// nearest is the name that was probably meant; empty if none is near.
func nearest(given string, names []string) string {
	best, bestDist := "", 1+min(len(given)/4, 2)
	given = strings.ToLower(given)
	names = slices.Sorted(slices.Values(names)) // of two equally near, always the same
	for _, n := range names {
		if d := levenshtein.Distance(given, n, nil); d <= bestDist && d < max(len(given), len(n)) && (best == "" || d < bestDist) {
			best, bestDist = n, d
		}
	}
	if best != "" || len(given) < 3 {
		return best
	}
	for _, n := range names { // orderbook: book; candle_1m: candles
		if len(n) >= 3 && (strings.Contains(given, n) || strings.Contains(n, given)) {
			return n
		}
	}
	return ""
}

// suggest is " Did you mean X?" or, where nothing is near, the list of names.
func suggest(given string, names []string, lead string) string {
	if n := nearest(given, names); n != "" {
		return fmt.Sprintf(" Did you mean %q?", n)
	}
	if len(names) == 0 {
		return ""
	}
	return " " + lead + " " + list(names) + "."
}

// list is a sorted enumeration.
func list(names []string) string {
	return strings.Join(slices.Sorted(slices.Values(names)), ", ")
}
