package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

const (
	quotedBytesMax = 100 // of a user's value repeated in a message
	typosMax       = 2   // edits that still count as a slip of the finger
	prefixBytesMin = 3   // of a word that is recognised by its beginning
)

// suggest returns the known word that the user most likely meant, or "": the same letters in another order, a slip or
// two of the finger, or a word cut short or drawn out.
func suggest(given string, known []string) string {
	given = plain(given)
	best, bestDistance := "", min(typosMax, (len(given)-1)/2)+1
	for _, word := range known {
		distance := levenshtein.Distance(given, plain(word), nil)
		if sameLetters(given, plain(word)) {
			distance = min(distance, 1)
		}
		if distance < bestDistance {
			best, bestDistance = word, distance
		}
	}
	if best != "" {
		return best
	}
	for _, word := range known {
		short, long := given, plain(word)
		if len(short) > len(long) {
			short, long = long, short
		}
		if len(short) >= prefixBytesMin && strings.HasPrefix(long, short) {
			return word
		}
	}
	return ""
}

// sameLetters reports whether two words differ in the order of their letters alone.
func sameLetters(a, b string) bool {
	return slices.Equal(slices.Sorted(slices.Values([]byte(a))), slices.Sorted(slices.Values([]byte(b))))
}

// plain drops what people get wrong about a word without meaning another: case and separators.
func plain(word string) string {
	return strings.NewReplacer("_", "", "-", "", " ", "", "/", "", ":", "").Replace(strings.ToLower(word))
}

// choose words the way out of an unknown word: the one that was meant, or all there are.
func choose(given string, known []string) string {
	if meant := suggest(given, known); meant != "" {
		return fmt.Sprintf("Did you mean %q?", meant)
	}
	switch len(known) {
	case 0:
		return "None is defined."
	case 1:
		return fmt.Sprintf("There is only %q.", known[0])
	}
	return "Known are " + listed(known) + "."
}

// listed joins words in quotes: "a", "b" and "c".
func listed(words []string) string {
	quotedWords := make([]string, len(words))
	for i, word := range words {
		quotedWords[i] = quoted(word)
	}
	if len(words) < 2 {
		return strings.Join(quotedWords, "")
	}
	last := len(words) - 1
	return strings.Join(quotedWords[:last], ", ") + " and " + quotedWords[last]
}

// quoted repeats a user's text in a message: control characters escaped, the long cut short.
func quoted(text string) string {
	if len(text) > quotedBytesMax {
		return fmt.Sprintf("%q...", text[:quotedBytesMax])
	}
	return fmt.Sprintf("%q", text)
}
