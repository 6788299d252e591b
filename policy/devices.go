package policy

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

// A pattern of devices has one of four forms: a device, such as 100; a device with the wildcards * and
// ?, such as 10? or +1425*; a range of numbers with equally many digits, such as 200-299; or a regular
// expression between slashes for the whole device, such as /2[0-4]\d/.

// expressions caches the compiled regular expressions of the configuration.
var expressions sync.Map

func expression(pattern string) (*regexp.Regexp, error) {
	if known, ok := expressions.Load(pattern); ok {
		return known.(*regexp.Regexp), nil
	}
	compiled, err := regexp.Compile("^(?i:" + pattern[1:len(pattern)-1] + ")$")
	if err == nil {
		expressions.Store(pattern, compiled)
	}
	return compiled, err
}

func isExpression(pattern string) bool {
	return len(pattern) > 2 && pattern[0] == '/' && pattern[len(pattern)-1] == '/'
}

// bounds returns the ends of a range.
func bounds(pattern string) (low, high string, ok bool) {
	low, high, _ = strings.Cut(pattern, "-")
	return low, high, len(low) == len(high) && allDigits(low) && allDigits(high)
}

func allDigits(s string) bool {
	s = strings.TrimPrefix(s, "+")
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// ValidDevices reports whether pattern is a valid pattern of devices.
func ValidDevices(pattern string) bool {
	if isExpression(pattern) {
		_, err := expression(pattern)
		return err == nil
	}
	if low, high, ok := bounds(pattern); ok {
		return low <= high
	}
	return ValidPattern(pattern)
}

// Finite reports whether a pattern of devices matches a limited number of devices. One with * or a
// regular expression does not.
func Finite(pattern string) bool { return !isExpression(pattern) && !strings.Contains(pattern, "*") }

// MatchDevice reports whether a canonical device matches one of the patterns.
func MatchDevice(patterns []string, device string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if isExpression(pattern) {
			compiled, err := expression(pattern)
			return err == nil && compiled.MatchString(device)
		}
		if low, high, ok := bounds(pattern); ok {
			return len(device) == len(low) && allDigits(device) && low <= device && device <= high
		}
		return match(pattern, device)
	})
}
