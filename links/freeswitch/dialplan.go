package freeswitch

import (
	"encoding/xml"
	"io"
	"strings"
)

// maxDialplan limits how much of the dialplan is read, in octets.
const maxDialplan = 16 << 20

// examine reads the dialplan's context, and logs when it bridges to telephones without reading forwarding and do not
// disturb before: then clients set them, and nothing happens. A dialplan that FreeSWITCH does not show, such as to a user
// who may not ask for it, is not examined.
func (l *Link) examine(s *socket) error {
	read := func(r io.Reader) error {
		switch extension, later := bridgesFirst(io.LimitReader(r, maxDialplan)); {
		case extension == "":
		case later:
			l.cfg.Log.Warn("FreeSWITCH's dialplan reads forwarding and do not disturb too late", "context", l.cfg.Context, "extension", legible(extension))
		default:
			l.cfg.Log.Info("FreeSWITCH's dialplan does not read forwarding and do not disturb", "context", l.cfg.Context, "extension", legible(extension))
		}
		return nil
	}
	ask := api("xml_locate dialplan context name %", word(l.cfg.Context))
	return s.give(ask.text, &command{list: read, done: func(string, error) {}}, true)
}

// bridgesFirst returns the extension of a context that bridges to telephones before anything reads forwarding or do not
// disturb, and whether something reads them later.
func bridgesFirst(context io.Reader) (extension string, later bool) {
	d := xml.NewDecoder(context)
	d.Strict = false
	name := ""
	for {
		token, err := d.Token()
		if err != nil {
			return extension, false
		}
		start, is := token.(xml.StartElement)
		if !is {
			continue
		}
		attributes := map[string]string{}
		for _, a := range start.Attr {
			attributes[a.Name.Local] = a.Value
		}
		text := attributes["field"] + attributes["data"]
		switch {
		case start.Name.Local == "extension":
			name = attributes["name"]
		case strings.Contains(text, "select/"+keepsDND+"/"), strings.Contains(text, "select/csta_forward_"):
			return extension, extension != ""
		case attributes["application"] == "bridge" && strings.Contains(text, "user/") && extension == "":
			extension = name
		}
	}
}
