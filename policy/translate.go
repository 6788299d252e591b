package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// NumberRule changes the numbers that match it.
type NumberRule struct {
	Text    string // as configured
	match   *regexp.Regexp
	change  func(number string) string
	atLeast int // the length of the shortest number that matches a digit map
}

// Step is one number rule that was tried.
type Step struct {
	Rule   string
	Fits   bool
	Number string // the number after the rule
}

var errNumberRule = errors.New(`write a digit map such as "00x." with strip and add, or a regular expression such as "/00(\d+)/" with replace`)

// ParseNumberRule makes a rule from its configuration.
//
// If match is between slashes, it is a regular expression for the whole number, and replace is its
// replacement, with $1 and so on for groups. Otherwise match is a digit map: x is any digit, [2-5] is
// one of these digits, and a dot repeats the element before it any number of times, or none. A number
// that matches a digit map loses strip characters and gets the prefix add.
func ParseNumberRule(match string, strip int, add, replace string) (NumberRule, error) {
	r := NumberRule{Text: match}
	var err error
	if isExpression(match) {
		if strip != 0 || add != "" {
			return NumberRule{}, errors.New("strip and add are for digit maps; write replace")
		}
		r.match, err = regexp.Compile("^(?:" + match[1:len(match)-1] + ")$")
		r.change = func(number string) string { return r.match.ReplaceAllString(number, replace) }
		return r, err
	}
	if replace != "" || strip < 0 {
		return NumberRule{}, errNumberRule
	}
	if err := r.digitMap(match); err != nil {
		return NumberRule{}, err
	}
	if strip > r.atLeast {
		return NumberRule{}, fmt.Errorf("strip: a matching number may have only %d characters", r.atLeast)
	}
	r.change = func(number string) string { return add + number[strip:] }
	return r, nil
}

// digitMap compiles a digit map.
func (r *NumberRule) digitMap(m string) error {
	var units []string
	for rest := m; rest != ""; {
		unit := rest[:1]
		switch c := rest[0]; {
		case c == 'x':
			unit = `\d`
		case c >= '0' && c <= '9':
		case c == '+' || c == '*' || c == '#':
			unit = regexp.QuoteMeta(unit)
		case c == '.' && len(units) > 0 && !strings.HasSuffix(units[len(units)-1], ")*"):
			units[len(units)-1] = "(?:" + units[len(units)-1] + ")*"
			r.atLeast--
			rest = rest[1:]
			continue
		case c == '[':
			end := strings.IndexByte(rest, ']')
			if end < 2 || strings.Trim(rest[1:end], "0123456789-") != "" {
				return errNumberRule
			}
			unit = rest[:end+1]
			rest = rest[end:]
		default:
			return errNumberRule
		}
		units = append(units, unit)
		r.atLeast++
		rest = rest[1:]
	}
	if len(units) == 0 {
		return errNumberRule
	}
	var err error
	if r.match, err = regexp.Compile("^" + strings.Join(units, "") + "$"); err != nil {
		return errNumberRule
	}
	return nil
}

// NumberRules are rules in order. The first that matches changes the number.
type NumberRules []NumberRule

// Apply returns the number as the rules change it.
func (rules NumberRules) Apply(number string) string {
	for i := range rules {
		if rules[i].match.MatchString(number) {
			return rules[i].change(number)
		}
	}
	return number
}

// Trace is Apply, and also returns the rules that were tried.
func (rules NumberRules) Trace(number string) (string, []Step) {
	var steps []Step
	for i := range rules {
		if rules[i].match.MatchString(number) {
			number = rules[i].change(number)
			return number, append(steps, Step{rules[i].Text, true, number})
		}
		steps = append(steps, Step{rules[i].Text, false, number})
	}
	return number, steps
}
