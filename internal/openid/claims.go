package openid

import (
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// claims are those of a token.
type claims struct{ all map[string]json.RawMessage }

// text returns a claim that is a text.
func (c *claims) text(claim string) (string, bool) {
	var text string
	err := json.Unmarshal(c.all[claim], &text)
	return text, err == nil
}

// name returns the name that a claim has. An address for mail is one only if the provider has verified it: otherwise its
// users could enter somebody else's.
func (c *claims) name(claim string) (string, error) {
	name, ok := c.text(claim)
	switch {
	case !ok:
		return "", wrong("it has no claim %s that is a text", claim)
	case name == "" || !utf8.ValidString(name) || strings.TrimSpace(name) != name || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", wrong("its claim %s is no name", claim)
	case strings.ContainsFunc(name, mimic):
		return "", wrong("its claim %s has a letter that counts as one of ASCII in small letters", claim)
	case claim == "email" && !c.verified():
		return "", wrong("its provider does not say that it has verified the address (email_verified)")
	}
	return name, nil
}

// mimic reports whether a letter is outside ASCII, and is in ASCII when case does not matter: the Kelvin sign is a k. Names
// are compared so, and a provider may keep these apart.
func mimic(r rune) bool {
	for other := unicode.SimpleFold(r); r >= utf8.RuneSelf && other != r; other = unicode.SimpleFold(other) {
		if other < utf8.RuneSelf {
			return true
		}
	}
	return r >= utf8.RuneSelf && unicode.ToLower(r) < utf8.RuneSelf
}

// verified reports whether the provider has verified the address for mail. Some write the value as text.
func (c *claims) verified() bool {
	value := string(c.all["email_verified"])
	return value == "true" || value == `"true"`
}

// scopes returns the scopes: a text with spaces (RFC 9068), or scp, which is a list or such a text.
func (c *claims) scopes() []string {
	var list []string
	for _, claim := range []string{"scope", "scp"} {
		if text, ok := c.text(claim); ok {
			list = append(list, strings.Fields(text)...)
		}
		var several []string
		if json.Unmarshal(c.all[claim], &several) == nil {
			list = append(list, several...)
		}
	}
	return list
}
