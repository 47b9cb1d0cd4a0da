package main

import "fmt"

// didYouMean suggests the known word that is closest to word; it returns "" if none is close.
func didYouMean(word string, known []string) string {
	best, limit := "", len(word)/3+1
	for _, k := range known {
		if d := editDistance(word, k); d <= limit && (best == "" || d < limit) {
			best, limit = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", best)
}

// editDistance is the Levenshtein distance of a and b, computed one row at a time.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
