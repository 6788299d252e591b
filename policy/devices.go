package policy

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// A pattern of devices has one of four forms: a device, such as 100; a device with the wildcards * and
// ?, such as 10? or +1425*; a range of numbers with equally many digits, such as 200-299; or a regular
// expression between slashes for the whole device, such as /2[0-4]\d/.

// Devices is a list of compiled patterns of devices. The zero value matches none.
type Devices struct {
	all   bool
	exact map[string]bool
	other []func(device string) bool // a prefix, a range, an expression, or other wildcards
}

// CompileDevices compiles patterns of devices. One that is not valid matches nothing.
func CompileDevices(patterns []string) *Devices {
	d := &Devices{exact: map[string]bool{}}
	for _, pattern := range patterns {
		d.add(pattern)
	}
	return d
}

func (d *Devices) add(pattern string) {
	if isExpression(pattern) {
		if whole, err := expression(pattern); err == nil {
			d.other = append(d.other, whole.MatchString)
		}
		return
	}
	if low, high, ok := bounds(pattern); ok {
		d.other = append(d.other, func(device string) bool {
			return len(device) == len(low) && low <= device && device <= high && allDigits(device)
		})
		return
	}
	pattern = folded(pattern)
	prefix, open := strings.CutSuffix(pattern, "*")
	switch plain := !strings.ContainsAny(prefix, `*?[\`); {
	case pattern == "*":
		d.all = true
	case plain && open:
		d.other = append(d.other, func(device string) bool { return strings.HasPrefix(folded(device), prefix) })
	case plain:
		d.exact[pattern] = true
	default:
		d.other = append(d.other, func(device string) bool {
			ok, _ := path.Match(pattern, folded(device))
			return ok
		})
	}
}

// All reports whether one of the patterns is *, which every device matches.
func (d *Devices) All() bool { return d.all }

// Match reports whether a canonical device matches one of the patterns.
func (d *Devices) Match(device string) bool {
	return d.all || d.exact[folded(device)] || slices.ContainsFunc(d.other, func(fits func(string) bool) bool { return fits(device) })
}

// folded returns a text as patterns are compared: in small letters, and without slashes, which * in path.Match does not
// match; identities and devices contain none that matters.
func folded(s string) string { return strings.ReplaceAll(strings.ToLower(s), "/", "|") }

// compiled has the patterns of rules, which the configuration limits.
var compiled sync.Map

// matchDevice reports whether a canonical device matches one of the patterns of a rule.
func matchDevice(patterns []string, device string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		known, ok := compiled.Load(pattern)
		if !ok {
			known, _ = compiled.LoadOrStore(pattern, CompileDevices([]string{pattern}))
		}
		return known.(*Devices).Match(device)
	})
}

func isExpression(pattern string) bool {
	return len(pattern) > 2 && pattern[0] == '/' && pattern[len(pattern)-1] == '/'
}

// expression compiles a pattern that is a regular expression, for the whole device.
func expression(pattern string) (*regexp.Regexp, error) {
	return regexp.Compile("^(?i:" + pattern[1:len(pattern)-1] + ")$")
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
