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

// replacedBy returns what dialog a Refer-To names in its header Replaces (RFC 3891 4): has is
// whether it names one, ok whether that can be read.
func replacedBy(uri string) (r sip.Replaces, has, ok bool) {
	_, headers, _ := strings.Cut(uri, "?")
	ok = true
	for header := range strings.SplitSeq(headers, "&") {
		name, value, _ := strings.Cut(header, "=")
		if name, err := url.PathUnescape(name); err != nil || !strings.EqualFold(name, "Replaces") {
			continue
		}
		text, err := url.PathUnescape(value)
		if has || err != nil {
			return sip.Replaces{}, true, false
		}
		has = true
		r, ok = sip.ParseReplaces(text)
	}
	return r, has, ok
}
