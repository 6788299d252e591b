package uacsta

import (
	_ "embed"
	"slices"
	"strings"
	"sync"

	"github.com/beevik/etree"
)

// Capability is one service or event that a switching function or device
// supports (ECMA-323 capability lists).
type Capability struct {
	List    string   // such as callControlServList
	Name    string   // such as makeCall
	Details []string // what the list says about it, such as privateData; mostly empty
}

// Capabilities are the members of capability lists, in any order. Encoding writes them in schema order
// and leaves out what the edition does not define.
type Capabilities []Capability

//go:embed capabilities.txt
var capabilitiesText string

// later is a name that may exist in edition 6 only.
type later struct {
	name     string
	edition6 bool
}

func (l later) in(edition Edition) bool { return !l.edition6 || edition >= Edition6 }

func newLater(word string) later {
	name, plus := strings.CutPrefix(word, "+")
	return later{name, plus}
}

type capability struct {
	later
	details []later
}

type capabilityTable struct {
	holders map[string][]later // the elements that hold lists
	lists   map[string][]capability
}

// capabilityLists is the parsed table capabilities.txt.
var capabilityLists = sync.OnceValue(func() capabilityTable {
	t := capabilityTable{map[string][]later{}, map[string][]capability{}}
	var list, holder string
	for line := range strings.Lines(capabilitiesText) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
			continue
		case line[0] != ' ' && len(words) > 1 && words[1] == "holds":
			holder, words = words[0], words[2:]
		case line[0] != ' ' && len(words) > 1 && words[1] == "=":
			holder, list = "", ""
			t.lists[words[0]] = t.lists[words[2]]
			continue
		case line[0] != ' ':
			holder, list = "", strings.TrimPrefix(words[0], "+")
			continue
		}
		if holder != "" {
			for _, word := range words {
				t.holders[holder] = append(t.holders[holder], newLater(word))
			}
			continue
		}
		members := t.lists[list]
		if !strings.HasPrefix(line, "      ") {
			members = append(members, capability{later: newLater(strings.TrimSuffix(words[0], ":"))})
			words = words[1:]
		}
		last := &members[len(members)-1]
		for _, word := range words {
			last.details = append(last.details, newLater(word))
		}
		t.lists[list] = members
	}
	return t
})

// encodeFor writes the lists for an element that holds them.
func (c Capabilities) encodeFor(e *etree.Element, edition Edition) {
	table := capabilityLists()
	if members, ok := table.lists[e.Tag]; ok {
		c.encodeList(e, e.Tag, members, edition)
		return
	}
	for _, list := range table.holders[e.Tag] {
		if list.in(edition) && slices.ContainsFunc(c, func(x Capability) bool { return x.List == list.name }) {
			c.encodeList(add(e, list.name), list.name, table.lists[list.name], edition)
		}
	}
}

func (c Capabilities) encodeList(e *etree.Element, list string, members []capability, edition Edition) {
	for _, member := range members {
		i := slices.IndexFunc(c, func(x Capability) bool { return x.List == list && x.Name == member.name })
		if i < 0 || !member.in(edition) {
			continue
		}
		described := add(e, member.name)
		for _, detail := range member.details {
			if detail.in(edition) && slices.Contains(c[i].Details, detail.name) {
				addText(described, detail.name, "true")
			}
		}
	}
}

func (c *Capabilities) decode(e *etree.Element) error { //nolint:unparam // elementDecoder
	if _, ok := capabilityLists().lists[e.Tag]; ok {
		c.decodeList(e)
		return nil
	}
	for _, list := range e.ChildElements() {
		c.decodeList(list)
	}
	return nil
}

func (c *Capabilities) decodeList(list *etree.Element) {
	for _, member := range list.ChildElements() {
		described := Capability{List: list.Tag, Name: member.Tag}
		for _, detail := range member.ChildElements() {
			if text := strings.TrimSpace(detail.Text()); text == "true" || text == "1" {
				described.Details = append(described.Details, detail.Tag)
			}
		}
		*c = append(*c, described)
	}
}
