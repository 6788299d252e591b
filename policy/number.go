package policy

import (
	"errors"
	"fmt"
	"strings"
)

// Number is a device or directory number in canonical form: what is decided on, compared,
// stored and logged. [Numbers.Parse] makes one of what a peer writes. Reading a Number's
// text once more gives the same Number. The zero value is none.
type Number struct {
	text string
	kind numberKind
}

type numberKind uint8

const (
	noNumber  numberKind = iota
	digits               // an extension, or what can be dialled: 0 to 9, * and #, perhaps + in front
	name                 // of an extension, a queue, a network interface
	address              // a SIP URI
	numbered             // a device number, or one that holds in a call only: no dialling number (ECMA-269 6.1.3)
	wholeKind            // Whole
)

// Whole stands for all devices of a switching function, or for a destination that may be any:
// only patterns that fit everything fit it.
var Whole = Number{"*", wholeKind}

// String returns the canonical form.
func (n Number) String() string { return n.text }

// IsZero reports whether there is no number.
func (n Number) IsZero() bool { return n.kind == noNumber }

// Dialable reports whether the number consists of what can be dialled.
func (n Number) Dialable() bool { return n.kind == digits }

// Element returns how a canonical number is written in XML: the text, and its typeOfNumber, ""
// for none (ECMA-323 DeviceID).
func Element(canonical string) (text, kind string) {
	for _, kind := range []string{deviceNumber, dynamic} {
		if rest, ok := strings.CutPrefix(canonical, kind+":"); ok {
			return rest, kind
		}
	}
	return canonical, ""
}

const (
	maxNumber    = 64 // characters of a number or a name
	maxAddress   = 255
	deviceNumber = "deviceNumber"
	dynamic      = "dynamic" // in hexadecimal digits
)

// ErrNumber is what every error of [Numbers.Parse] wraps.
var ErrNumber = errors.New("cannot be read as a number")

func notANumber(why string) error { return fmt.Errorf("%w: %s", ErrNumber, why) }

// typed reads the attribute typeOfNumber of a device identifier: international numbers get
// their +, device numbers their name; kinds that mean another number than the same digits
// dialled are refused.
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
		return written, nil // there are device numbers that are names
	case dynamic:
		return dynamic + ":" + written, nil
	}
	return "", notANumber("its kind " + fmt.Sprintf("%.40q", kind) + " is not one of those that are understood")
}

// Parse reads what a peer writes for a device, kind being its typeOfNumber, "" for none. It
// understands an extension or name; digits with * and #, + and visual separators (RFC 3966
// 5.1.1); tel: with ext and phone-context; sip: and sips: with user=phone and transport; and
// a switching function's N<...> (ECMA-323 SFR). Everything else is an error that wraps
// ErrNumber: what is not understood may mean another number to the next reader.
func (n *Numbers) Parse(written, kind string) (Number, error) {
	text, err := typed(strings.Trim(written, " \t\r\n"), kind)
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
	case hasScheme && scheme == dynamic:
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

// plain reads digits or a name.
func (n *Numbers) plain(text string) (Number, error) {
	if number, ok := dialable(text); ok {
		return n.dialled(number)
	}
	if !isName(text) {
		return Number{}, notANumber("it has characters that belong to no number and no name")
	}
	return Number{text, name}, nil
}

// dialled changes a number as the rules say, and turns an E.164 number under Main into its
// extension.
func (n *Numbers) dialled(number string) (Number, error) {
	if !n.isExtension(number) {
		var ok bool
		if number, ok = dialable(n.Rules.Apply(number)); !ok {
			return Number{}, notANumber("the rules for numbers make something else of it")
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
	if !isDialable(number) { // an extension under Main may have a name
		return n.plain(number)
	}
	return Number{number, digits}, nil
}

// tel reads what stands behind tel: (RFC 3966). An extension given as ;ext= is the extension;
// a global phone-context goes before a local number.
func (n *Numbers) tel(rest string) (Number, error) {
	written, list, _ := strings.Cut(rest, ";")
	params, err := parameters(list, "ext", "phone-context", "user", "partition", "device") // the last two are a gateway's own, and go no further
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

// sip reads what stands behind sip: (RFC 3261 19.1). A user part that can be dialled is the
// number; else it is somebody at a host.
func (n *Numbers) sip(scheme, rest string) (Number, error) {
	if strings.ContainsAny(rest, "?%") { // headers, and escapes: nobody needs them for a device
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

// bracketed reads N<digits>, with what a switching function writes behind it for displays.
func (n *Numbers) bracketed(rest string) (Number, error) {
	number, list, closed := strings.Cut(rest, ">")
	if !closed || !allDigits(number) {
		return Number{}, notANumber("N<> without a number")
	}
	if list != "" {
		if list[0] != ';' {
			return Number{}, notANumber("something behind N<>")
		}
		if _, err := parameters(list[1:], "displayNumber", "noa"); err != nil {
			return Number{}, err
		}
	}
	return n.dialled(number)
}

// parameters reads name=value;name=value. Each name must be one of those that are understood,
// and be there once.
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
		return nil, notANumber("it has a parameter that is not understood")
	}
	return params, nil
}

// dialable takes visual separators out of a number; false where it has anything else in it.
func dialable(s string) (string, bool) {
	plain := true
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= '0' && c <= '9', c == '*', c == '#', c == '+' && i == 0:
		case strings.IndexByte(" -.()", c) >= 0:
			plain = false
		case c == '+' && strings.Trim(s[:i], " -.()") == "":
		default:
			return "", false
		}
	}
	if !plain {
		s = strings.Map(func(r rune) rune {
			if strings.ContainsRune(" -.()", r) {
				return -1
			}
			return r
		}, s)
	}
	return s, s != "" && s != "+"
}

// isDialable reports whether s is a number and nothing else.
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

// isHost reports whether s can be a host, with or without a port.
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
