package freeswitch

import (
	"encoding/xml"
	"io"
	"regexp"
	"slices"
	"strings"
)

// maxDialplan limits how much of the dialplan is read, in octets.
const maxDialplan = 16 << 20

// Limits of the dialplan's examination: how many extensions are compared with how many telephones.
const (
	maxExtensions = 100
	maxCompared   = 1000
)

// examine asks FreeSWITCH whether it is configured for the link, and logs what is not. What FreeSWITCH does not show, such
// as to a user who may not ask for it, is not examined.
func (l *Link) examine(s *socket) error {
	for _, domain := range append([]string{l.cfg.Domain}, l.cfg.Domains...) {
		exists := func(reply string, _ error) {
			if reply == "false" {
				l.cfg.Log.Warn("FreeSWITCH's directory does not have the domain: calls to its telephones fail", "domain", domain)
			}
		}
		if err := s.give(api("domain_exists %", word(domain)).text, &command{done: exists}, true); err != nil {
			return err
		}
	}
	deliver := l.inbox.Deliverer()
	read := func(r io.Reader) error {
		first, later := bridgesFirst(io.LimitReader(r, maxDialplan))
		deliver(func() { l.judge(first, later) })
		return nil
	}
	ask := api("xml_locate dialplan context name %", word(l.cfg.Context))
	return s.give(ask.text, &command{list: read, done: func(string, error) {}}, true)
}

// judge logs when the dialplan bridges to telephones without reading forwarding and do not disturb before: then clients set
// them, and nothing happens.
func (l *Link) judge(first []extension, later bool) {
	if !later && len(first) > 0 {
		l.cfg.Log.Info("FreeSWITCH's dialplan does not read forwarding and do not disturb", "context", l.cfg.Context, "extension", legible(first[0].name))
		return
	}
	if i := slices.IndexFunc(first, l.reaches); i >= 0 {
		l.cfg.Log.Warn("FreeSWITCH's dialplan reads forwarding and do not disturb too late", "context", l.cfg.Context, "extension", legible(first[i].name))
	}
}

// extension is an extension of the dialplan: its name, and the expression of the numbers that it is for; "" means any.
type extension struct{ name, numbers string }

// reaches reports whether an extension is for the number of a telephone, and not for one with a prefix, as for an intercom.
func (l *Link) reaches(x extension) bool {
	numbers, err := regexp.Compile(x.numbers)
	if err != nil {
		return false
	}
	compared := 0
	for device := range l.devices {
		if user, _ := l.userOf(device); numbers.MatchString(user) {
			return true
		}
		if compared++; compared == maxCompared {
			break
		}
	}
	return false
}

// bridgesFirst returns the extensions of a context that bridge to telephones before anything reads forwarding or do not
// disturb, and whether something reads them later.
func bridgesFirst(context io.Reader) (first []extension, later bool) {
	d := xml.NewDecoder(context)
	d.Strict = false
	var x extension
	for {
		token, err := d.Token()
		if err != nil {
			return first, false
		}
		start, is := token.(xml.StartElement)
		if !is {
			continue
		}
		attributes := map[string]string{}
		for _, a := range start.Attr {
			attributes[a.Name.Local] = a.Value
		}
		field, data := attributes["field"], attributes["data"]
		text := field + data
		switch {
		case start.Name.Local == "extension":
			x = extension{name: attributes["name"]}
		case strings.Contains(text, "select/"+keepsDND+"/"), strings.Contains(text, "select/csta_forward_"):
			return first, true
		case field == "destination_number" || field == "${destination_number}":
			x.numbers = attributes["expression"]
		case attributes["application"] == "bridge" && strings.Contains(data, "user/") && len(first) < maxExtensions && !slices.Contains(first, x):
			first = append(first, x)
		}
	}
}
