package registrar

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/tr87proxy/tr87proxy/sip"
)

var dialable = regexp.MustCompile(`^\+?[0-9*#]{1,32}$`)

// Dialable reports whether a string is a number that can be dialled: up to 32 digits, * and #, with an optional
// + before them.
func Dialable(number string) bool { return dialable.MatchString(number) }

// Number returns the number in a URI, or "" if it has none that can be dialled. It drops visual separators
// (RFC 3966 5.1.1), a password, and parameters of the user part.
func Number(uri string) string {
	return Digits(UserOf(uri))
}

// Digits returns a number that may have visual separators (RFC 3966 5.1.1) without them, or "" if it cannot be dialled.
func Digits(user string) string {
	user = strings.NewReplacer("-", "", ".", "", "(", "", ")", "").Replace(user)
	if !Dialable(user) {
		return ""
	}
	return user
}

// UserOf returns the user in a URI, unescaped and without its password and parameters (RFC 3261 19.1.1), or "" if it
// has none that can be read.
func UserOf(uri string) string {
	user := sip.ParseURI(uri).User
	if end := strings.IndexAny(user, ":;"); end >= 0 {
		user = user[:end]
	}
	user, err := url.PathUnescape(user)
	if err != nil {
		return ""
	}
	return user
}
