package config

import (
	"fmt"
	"strings"

	"github.com/agext/levenshtein"
)

const (
	quotedBytesMax = 100 // of a user's value repeated in a message
	typosMax       = 2   // edits that still count as a slip of the finger
)

// suggest returns the known word that the user most likely meant, or "".
func suggest(given string, known []string) string {
	given = plain(given)
	if given == "" {
		return ""
	}
	best, bestDistance := "", typosMax+1
	for _, word := range known {
		distance := levenshtein.Distance(given, plain(word), nil)
		if distance < bestDistance && distance < len(given) {
			best, bestDistance = word, distance
		}
	}
	if best != "" {
		return best
	}
	for _, word := range known {
		if len(given) >= 3 && strings.HasPrefix(plain(word), given) {
			return word
		}
	}
	return ""
}

// plain drops what people get wrong about a word without meaning another: case and separators.
func plain(word string) string {
	return strings.NewReplacer("_", "", "-", "", " ", "", "/", "").Replace(strings.ToLower(word))
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
