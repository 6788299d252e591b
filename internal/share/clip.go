package share

import "strings"

// longestText is the maximum length of a peer's text in the log, in octets.
const longestText = 256

// Clip shortens a peer's text for the log to 256 octets and an ellipsis.
func Clip(text string) string {
	if len(text) <= longestText {
		return text
	}
	return strings.ToValidUTF8(text[:longestText], "") + "…"
}
