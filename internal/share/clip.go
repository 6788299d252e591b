package share

import "strings"

// longestText is how much of a peer's text goes into the log.
const longestText = 256

// Clip cuts a text of a peer down to what the log takes of it: 256 octets, and an ellipsis.
func Clip(text string) string {
	if len(text) <= longestText {
		return text
	}
	return strings.ToValidUTF8(text[:longestText], "") + "…"
}
