package phones

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/tr87proxy/tr87proxy/sip"
)

var dialable = regexp.MustCompile(`^\+?[0-9*#]{1,32}$`)

// number returns the number in a URI, "" when it has none that can be dialled. Visual
// separators (RFC 3966 5.1.1) and parameters of the user part are left out.
func number(uri string) string {
	user := sip.ParseURI(uri).User
	user, _, _ = strings.Cut(user, ";")
	user, err := url.PathUnescape(user)
	if err != nil {
		return ""
	}
	user = strings.NewReplacer("-", "", ".", "", "(", "", ")", "").Replace(user)
	if !dialable.MatchString(user) {
		return ""
	}
	return user
}

// replaced returns the Call-ID of the dialog that a Refer-To names in its header Replaces.
func replaced(uri string) (callID string, ok bool) {
	_, headers, _ := strings.Cut(uri, "?")
	for header := range strings.SplitSeq(headers, "&") {
		name, value, _ := strings.Cut(header, "=")
		if strings.EqualFold(name, "Replaces") {
			text, err := url.PathUnescape(value)
			return callIDOf(text), err == nil
		}
	}
	return "", false
}

// callIDOf returns the Call-ID in a header Replaces.
func callIDOf(replaces string) string {
	id, _, _ := strings.Cut(replaces, ";")
	return strings.TrimSpace(id)
}
