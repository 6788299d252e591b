package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Number is a device or directory number in canonical form: the form that policy decides on and that
// is compared, stored and logged. Only [Numbers.Parse] makes one, so a Number is always valid. Parsing
// its String returns the same Number. The zero value is no number.
type Number struct {
	text string
	kind numberKind
}

type numberKind uint8

const (
	noNumber  numberKind = iota
	digits               // an extension, or a dialable number: 0 to 9, * and #, with an optional +
	name                 // the name of an extension, a queue or a network interface
	address              // a SIP URI
	numbered             // a device number, or one that is valid within a call only, and not a dialling number (ECMA-269 6.1.3)
	wholeKind            // Whole
)

// Whole stands for all devices of a switching function, or for an unknown destination. Only patterns
// that match everything match it.
var Whole = Number{"*", wholeKind}

// String returns the canonical form.
func (n Number) String() string { return n.text }

// IsZero reports whether n is no number.
func (n Number) IsZero() bool { return n.kind == noNumber }

// Dialable reports whether n consists of digits, * and #, with an optional +.
func (n Number) Dialable() bool { return n.kind == digits }

// Element returns the XML form of a canonical number: the text of the element, and its typeOfNumber
// attribute, "" for none (ECMA-323 DeviceID).
func Element(canonical string) (text, kind string) {
	for _, kind := range []string{deviceNumber, uacsta.Dynamic} {
		if rest, ok := strings.CutPrefix(canonical, kind+":"); ok {
			return rest, kind
		}
	}
	return canonical, ""
}

const (
	maxNumber    = 64 // characters of a number or name
	maxAddress   = 255
	deviceNumber = "deviceNumber"
	blanks       = " \t\r\n" // that may stand around a number
)

// ErrNumber is wrapped by every error of [Numbers.Parse].
var ErrNumber = errors.New("cannot be read as a number")

func notANumber(why string) error { return fmt.Errorf("%w: %s", ErrNumber, why) }

// typed applies the attribute typeOfNumber of a device identifier: international numbers get their +,
// and device numbers their name. It refuses types that give dialled digits another meaning.
func typed(written, kind string) (string, error) {
	switch kind {
	case "", "dialingNumber", "implicitPublic", "implicitPrivate", "explicitPublic:unknown", "explicitPublic:subscriber",
		"explicitPrivate:unknown", "explicitPrivate:localNumber", "other":
		return written, nil
	case "explicitPublic:international":
		if number, ok := dialable(written); ok && number[0] >= '0' && number[0] <= '9' {
			return "+" + number, nil
		}
		return written, nil
	case deviceNumber:
		if allDigits(written) && written[0] != '+' {
			return deviceNumber + ":" + written, nil
		}
		return written, nil // some device numbers are names
	case uacsta.Dynamic:
		return uacsta.Dynamic + ":" + written, nil
	}
	return "", notANumber("its typeOfNumber " + fmt.Sprintf("%.40q", kind) + " is not supported")
}

// Parse reads a device or number as a peer writes it; kind is its typeOfNumber, "" for none. Parse
// accepts
//
//   - an extension, or the name of a device;
//   - text of another kind, such as a dial string, if a rule makes a number of it;
//   - digits with * and #, with + and visual separators (RFC 3966 5.1.1);
//   - tel: with ext and phone-context;
//   - sip: and sips: with user=phone and transport;
//   - N<...>, as a switching function writes it (ECMA-269 6.1.3), with a subaddress; not with a call appearance, an extension
//     or an agent.
//
// Any other form is an error that wraps [ErrNumber], because the next reader might take it for another
// number.
func (n *Numbers) Parse(written, kind string) (Number, error) {
	text, err := typed(strings.Trim(written, blanks), kind)
	if err != nil {
		return Number{}, err
	}
	scheme, rest, hasScheme := strings.Cut(text, ":")
	switch {
	case len(text) > maxAddress:
		return Number{}, notANumber("it is too long")
	case hasScheme && scheme == deviceNumber:
		if !allDigits(rest) || rest[0] == '+' || len(rest) > maxNumber {
			return Number{}, notANumber("a device number consists of digits")
		}
		return Number{text, numbered}, nil
	case hasScheme && scheme == uacsta.Dynamic:
		if len(rest) > maxNumber || rest == "" || strings.Trim(rest, "0123456789ABCDEF") != "" {
			return Number{}, notANumber("a dynamic device identifier consists of hexadecimal digits")
		}
		return Number{text, numbered}, nil
	case hasScheme && strings.EqualFold(scheme, "tel"):
		return n.tel(rest)
	case hasScheme && (strings.EqualFold(scheme, "sip") || strings.EqualFold(scheme, "sips")):
		return n.sip(strings.ToLower(scheme), rest)
	case strings.HasPrefix(text, "N<"):
		return n.bracketed(text[len("N<"):])
	}
	return n.plain(text)
}

// plain parses digits, a name, or other text of which the rules make a number.
func (n *Numbers) plain(text string) (Number, error) {
	if number, ok := dialable(text); ok {
		return n.dialled(number)
	}
	if !isName(text) {
		if number, ok := dialable(n.Rules.Apply(text)); ok {
			return n.dialled(number)
		}
		return Number{}, notANumber(unfit(text))
	}
	return Number{text, name}, nil
}

// dialled applies the rules to a number and converts an E.164 number under Main into its extension.
func (n *Numbers) dialled(number string) (Number, error) {
	if !n.isExtension(number) {
		var ok bool
		if number, ok = dialable(n.Rules.Apply(number)); !ok {
			return Number{}, notANumber("the number rules turn it into something else")
		}
		if n.Main != "" {
			if ext, ok := strings.CutPrefix(number, n.Main); ok && n.isExtension(ext) {
				number = ext
			}
		}
	}
	if len(number) > maxNumber {
		return Number{}, notANumber("it is too long")
	}
	if !isDialable(number) { // the extension may be a name
		return n.plain(number)
	}
	return Number{number, digits}, nil
}

// tel parses what follows tel: (RFC 3966). An ;ext= parameter is the extension; a global phone-context
// is a prefix of a local number.
func (n *Numbers) tel(rest string) (Number, error) {
	written, list, _ := strings.Cut(rest, ";")
	params, err := parameters(list, "ext", "phone-context", "user", "partition", "device") // gateways add the last two; they are ignored
	if err != nil {
		return Number{}, err
	}
	number, ok := dialable(written)
	if !ok {
		return Number{}, notANumber("tel: without a number")
	}
	if given, there := params["ext"]; there {
		ext, ok := dialable(given)
		if !ok {
			return Number{}, notANumber("its ext is no number")
		}
		if n.isExtension(ext) {
			return Number{ext, digits}, nil
		}
	}
	if context := params["phone-context"]; strings.HasPrefix(context, "+") && !strings.HasPrefix(number, "+") {
		global, ok := dialable(context)
		if !ok {
			return Number{}, notANumber("its phone-context is no number")
		}
		number = global + number // RFC 3966 5.1.5
	}
	return n.dialled(number)
}

// sip parses what follows sip: (RFC 3261 19.1). A dialable user part is a number; any other identifies
// a user at a host.
func (n *Numbers) sip(scheme, rest string) (Number, error) {
	if strings.ContainsAny(rest, "?%") { // headers and escapes: no device needs them
		return Number{}, notANumber("a SIP URI with headers or escapes")
	}
	user, host, _ := strings.Cut(rest, "@")
	host, list, _ := strings.Cut(host, ";")
	user, userList, _ := strings.Cut(user, ";")
	if _, err := parameters(list, "user", "transport"); err != nil {
		return Number{}, err
	}
	params, err := parameters(userList, "ext", "phone-context")
	switch {
	case err != nil:
		return Number{}, err
	case user == "" || !isHost(host):
		return Number{}, notANumber("a SIP URI without a user or a host")
	}
	if _, ok := dialable(user); ok {
		return n.tel(user + ";" + userList) // RFC 3261 19.1.6
	}
	if len(params) > 0 || !isName(user) {
		return Number{}, notANumber("the user of a SIP URI is neither a number nor a name")
	}
	return Number{scheme + ":" + user + "@" + strings.ToLower(host), address}, nil
}

// bracketed parses N<digits> and N<digits!subaddress>, with what a switching function adds for displays. The subaddress says
// which telephone of the number it is, and does not count: the number is the device.
func (n *Numbers) bracketed(rest string) (Number, error) {
	number, list, closed := strings.Cut(rest, ">")
	number, subaddress, has := strings.Cut(number, "!")
	if !closed || !allDigits(number) || has && (!allDigits(subaddress) || subaddress[0] == '+') {
		return Number{}, notANumber("N<> without a number, or with more than a subaddress")
	}
	if list != "" {
		if list[0] != ';' {
			return Number{}, notANumber("text after N<>")
		}
		if _, err := parameters(list[1:], "displayNumber", "noa"); err != nil {
			return Number{}, err
		}
	}
	return n.dialled(number)
}

// parameters parses name=value;name=value. Each name must be in the list understood, and occur once.
func parameters(list string, understood ...string) (map[string]string, error) {
	if list == "" {
		return nil, nil //nolint:nilnil // there are none
	}
	params := map[string]string{}
next:
	for p := range strings.SplitSeq(list, ";") {
		key, value, _ := strings.Cut(p, "=")
		for _, u := range understood {
			if strings.EqualFold(key, u) {
				if _, twice := params[u]; twice || !isValue(value) {
					return nil, notANumber("the parameter " + u + " is given twice, or has no valid value")
				}
				params[u] = value
				continue next
			}
		}
		return nil, notANumber("it has an unknown parameter")
	}
	return params, nil
}

// unfit says why a text is neither a number nor a name.
func unfit(text string) string {
	letters := strings.ContainsFunc(text, func(r rune) bool { return r < utf8.RuneSelf && isLetter(byte(r)) })
	switch {
	case text == "":
		return "it is empty"
	case len(text) > maxNumber:
		return "it is too long"
	case hasOptionalZero(text):
		return "(0) after + is dialled in some countries and not in others; write the number without it, or 0 without parentheses"
	}
	for i, r := range text {
		switch {
		case letters && (r < utf8.RuneSelf && (isLetter(byte(r)) || r >= '0' && r <= '9') || i > 0 && strings.ContainsRune("._-", r)):
		case letters && i > 0:
			return fmt.Sprintf("it has letters, and a name cannot have %q", r)
		case letters:
			return fmt.Sprintf("it has letters, and a name cannot begin with %q", r)
		case !strings.ContainsRune("0123456789*#+"+separators, r):
			return fmt.Sprintf("a number cannot have %q", r)
		}
	}
	if strings.ContainsAny(text, "0123456789*#") {
		return "a number has + in front only"
	}
	return "it has no digits"
}

// separators are the visual separators of a number.
const separators = " -.()"

// hasOptionalZero reports whether a number with + has a (0), which means: leave the 0 out from abroad, or do not.
func hasOptionalZero(s string) bool {
	return strings.Contains(s, "+") && strings.Contains(strings.ReplaceAll(s, " ", ""), "(0)")
}

// dialable removes the visual separators of a number. It returns false if anything else remains, or a (0) after +.
func dialable(s string) (string, bool) {
	plain := true
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= '0' && c <= '9', c == '*', c == '#', c == '+' && i == 0:
		case strings.IndexByte(separators, c) >= 0:
			plain = false
		case c == '+' && strings.Trim(s[:i], separators) == "":
		default:
			return "", false
		}
	}
	if !plain {
		if hasOptionalZero(s) {
			return "", false
		}
		s = strings.Map(func(r rune) rune {
			if strings.ContainsRune(separators, r) {
				return -1
			}
			return r
		}, s)
	}
	return s, s != "" && s != "+"
}

// isDialable reports whether s is a dialable number.
func isDialable(s string) bool {
	number, ok := dialable(s)
	return ok && number == s
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// isName reports whether s can be the name of a device.
func isName(s string) bool {
	letters := false
	for i := range len(s) {
		c := s[i]
		if letters = letters || isLetter(c); !isLetter(c) && (c < '0' || c > '9') && (i == 0 || strings.IndexByte("._-", c) < 0) {
			return false
		}
	}
	return letters && len(s) <= maxNumber
}

// isHost reports whether s can be a host with an optional port.
func isHost(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isLetter(c) && (c < '0' || c > '9') && strings.IndexByte(".-:[]", c) < 0 {
			return false
		}
	}
	return s != ""
}

// isValue reports whether s can be the value of a parameter.
func isValue(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isLetter(c) && (c < '0' || c > '9') && strings.IndexByte("+-.()*#_", c) < 0 {
			return false
		}
	}
	return s != ""
}
