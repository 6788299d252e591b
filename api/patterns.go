package api

import (
	"net/http"
	"strings"

	"github.com/tr87proxy/tr87proxy/policy"
)

// isPattern reports whether a text is a pattern of devices, and no number.
func isPattern(text string) bool {
	if strings.ContainsAny(text, "*?/") {
		return true
	}
	low, high, ok := strings.Cut(text, "-")
	digits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	return ok && len(low) == len(high) && digits(strings.TrimPrefix(low, "+")) && digits(strings.TrimPrefix(high, "+"))
}

// mostStars is how many stars a pattern of a client may have: more take long to compare.
const mostStars = 2

// checkPattern refuses what is neither a number nor a pattern of devices, patterns with many stars, and regular expressions:
// both take long to compare.
func checkPattern(text string) error {
	if strings.Count(text, "*") > mostStars {
		return problem(http.StatusUnprocessableEntity, "the pattern %.64q has more than %d stars; write for example 10* or *10*", text, mostStars)
	}
	if text == "" || len(text) > 64 || text[0] == '/' || !policy.ValidDevices(text) {
		return problem(http.StatusUnprocessableEntity, "%.64q is no pattern of devices; write for example 10*, 10? or 200-299", text)
	}
	return nil
}

// patterns reads a list of patterns of devices; "" is none.
func patterns(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	list := strings.Split(text, ",")
	for _, p := range list {
		if err := checkPattern(p); err != nil {
			return nil, err
		}
	}
	return list, nil
}
