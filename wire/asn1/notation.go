package asn1

import (
	"cmp"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

//go:embed phase1.txt
var phase1Text string

//go:embed phase3.txt
var phase3Text string

// notation is the table of a phase: how each message is written in BER.
type notation struct {
	types    map[string]typ
	requests map[string]*service // by name
	codes    map[code]*service
	known    []span            // operations of the phase, with a service here or without
	results  map[string]form   // by the name of the request
	events   map[string]*event // by name, without the word Event
	numbers  map[code]*event
	filters  []filterGroup
	errors   []errorGroup
}

// errorGroup is one category of errors.
type errorGroup struct {
	tag      int
	category uacsta.Category
	values   *enumeration
}

// span is a range of operations.
type span struct{ first, last int }

// code is the number of an operation or an event, and the number of the service or event under it; -1: there is none.
type code struct{ number, sub int }

// service is a request of the table.
type service struct {
	name string
	code code
	form form
}

// event is an event of the table. In Phase III the first number of its code is that of its category.
type event struct {
	name string
	code code
	form form
}

// filterGroup is one of the bit strings of a MonitorFilter, with its events in the order of their bits; "": a bit without
// an event.
type filterGroup struct {
	tag    int
	events []string
}

// form is the form of a message: a SEQUENCE of members, or the only member alone.
type form struct {
	members []member
	tag     *tag // of the SEQUENCE, nil: its own
	bare    bool
	omitted map[string]string // fields that are left out even if they are set, and the values that they are read as
	only    map[string]bool   // of these, the ones that can have no other value
}

// member is one member of a SEQUENCE.
type member struct {
	name     string // of the field, "*" for the whole struct
	tag      *tag   // nil: that of its type
	explicit bool
	optional bool
	standard string // the default: the value of a field that is not set, or of a member that is missing
	constant int    // the value of a member that is always the same; -1: none
	typeName string
	typ      typ
}

// read reads a table. It panics at a fault in the table, so that every test fails.
func read(text string, basic map[string]typ) *notation {
	n := &notation{
		types: basic, requests: map[string]*service{}, codes: map[code]*service{}, results: map[string]form{},
		events: map[string]*event{}, numbers: map[code]*event{},
	}
	var all []*[]member
	keep := func(members []member) []member { all = append(all, &members); return members }
	text = strings.ReplaceAll(text, "\n  ", " ")
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		head, body, bare := line, "", false
		if at := strings.IndexAny(line, ":="); at >= 0 {
			head, body, bare = line[:at], line[at+1:], line[at] == '='
		}
		words := strings.Fields(head)
		switch words[0] {
		case "enum":
			n.types[words[1]] = parseEnumeration(body)
		case "bits":
			n.types[words[1]] = bits(strings.Fields(body))
		case "known":
			n.known = parseSpans(words[1:])
		case "filter":
			n.filters = append(n.filters, parseFilter(words[1], body))
		case "errors":
			group := errorGroup{category: uacsta.Category(words[2]), values: parseEnumeration(body)}
			group.tag, _ = strconv.Atoi(words[1])
			n.errors = append(n.errors, group)
		case "type":
			n.types[words[1]] = &seq{members: keep(parseForm(body).members)}
		case "choice":
			n.types[words[1]] = &choice{members: keep(parseForm(body).members)}
		case "request":
			f := parseForm(body)
			f.bare, f.members = bare, keep(f.members)
			if len(words) == 4 {
				f.tag, _ = parseTag(words[3])
			}
			s := &service{name: words[2], code: parseCode(words[1]), form: f}
			n.requests[s.name], n.codes[s.code] = s, s
		case "result":
			f := parseForm(body)
			f.bare, f.members = bare, keep(f.members)
			n.results[words[1]] = f
		case "event":
			f := parseForm(body)
			f.members = keep(f.members)
			e := &event{name: words[2], code: parseCode(words[1]), form: f}
			n.events[e.name], n.numbers[e.code] = e, e
		default:
			panic("asn1: " + line)
		}
	}
	n.types["Filter"] = &filter{groups: n.filters}
	n.types["LocalConnectionState"] = tagged{n.types["LocalConnectionState"], application(14)}
	for _, members := range all {
		for i := range *members {
			n.resolve(&(*members)[i])
		}
	}
	return n
}

// resolve sets the type of a member.
func (n *notation) resolve(m *member) {
	if m.constant >= 0 {
		return
	}
	name, list := strings.CutSuffix(m.typeName, "*")
	name, one := strings.CutSuffix(name, "!")
	if m.typ = n.types[name]; m.typ == nil {
		panic("asn1: no type " + name)
	}
	if list {
		m.typ = &sequenceOf{m.typ}
	}
	if one {
		m.typ = onlyOne{m.typ}
	}
}

// parseSpans reads numbers and ranges, such as "3" and "31-35".
func parseSpans(words []string) []span {
	all := make([]span, len(words))
	for i, word := range words {
		first, last, _ := strings.Cut(word, "-")
		all[i].first, _ = strconv.Atoi(first)
		all[i].last, _ = strconv.Atoi(cmp.Or(last, first))
	}
	return all
}

func parseCode(word string) code {
	first, second, two := strings.Cut(word, "/")
	c := code{sub: -1}
	c.number, _ = strconv.Atoi(first)
	if two {
		c.sub, _ = strconv.Atoi(second)
	}
	return c
}

func parseForm(body string) form {
	f := form{omitted: map[string]string{}, only: map[string]bool{}}
	for part := range strings.SplitSeq(body, ",") {
		words := strings.Fields(part)
		if omitted, ok := strings.CutPrefix(words[0], "-"); ok {
			name, standard, _ := strings.Cut(omitted, "=")
			f.omitted[name], f.only[name] = strings.CutSuffix(standard, "!")
			continue
		}
		f.members = append(f.members, parseMember(words))
	}
	return f
}

// parseMember reads "[3!] name Type?=standard", or the number of a constant.
func parseMember(words []string) member {
	m := member{constant: -1}
	if len(words) == 1 {
		m.constant, _ = strconv.Atoi(words[0])
		return m
	}
	if len(words) == 3 {
		m.tag, m.explicit = parseTag(words[0])
		words = words[1:]
	}
	m.name = words[0]
	m.typeName, m.standard, _ = strings.Cut(words[1], "=")
	m.typeName, m.optional = strings.CutSuffix(m.typeName, "?")
	return m
}

// parseTag reads [3], [3!], or <3> for the class APPLICATION.
func parseTag(word string) (t *tag, explicit bool) {
	explicit = strings.Contains(word, "!")
	number, err := strconv.Atoi(strings.Trim(word, "[]<>!"))
	if err != nil {
		panic(fmt.Sprintf("asn1: tag %s: %v", word, err))
	}
	read := specific(number)
	if word[0] == '<' {
		read = application(number)
	}
	return &read, explicit
}

func parseEnumeration(body string) *enumeration {
	e := &enumeration{numbers: map[string]int{}, names: map[int]string{}}
	for part := range strings.SplitSeq(body, ",") {
		words := strings.Fields(part)
		number, _ := strconv.Atoi(words[1])
		e.numbers[words[0]] = number
		if e.names[number] == "" {
			e.names[number] = words[0]
		}
	}
	return e
}

func parseFilter(number, body string) filterGroup {
	g := filterGroup{}
	g.tag, _ = strconv.Atoi(number)
	for name := range strings.FieldsSeq(body) {
		if name == "-" {
			g.events = append(g.events, "")
			continue
		}
		g.events = append(g.events, name+"Event")
	}
	return g
}

// serviceOf returns the service of an Invoke; nil: there is none.
func (n *notation) serviceOf(operation int, argument *ber.Packet) *service {
	if s := n.codes[code{operation, -1}]; s != nil {
		return s
	}
	return n.codes[code{operation, under(argument)}]
}

// under returns the number of one of the services under an operation: which one is said by the argument, if that is a
// CHOICE, or by its second member. It returns -1 if the argument says nothing.
func under(argument *ber.Packet) int {
	switch {
	case argument == nil:
		return -1
	case argument.ClassType == ber.ClassContext:
		return int(argument.Tag)
	case len(argument.Children) < 2:
		return -1
	}
	second := argument.Children[1]
	if second.ClassType != ber.ClassUniversal {
		return int(second.Tag)
	}
	sub, err := number(second)
	if err != nil {
		return -1
	}
	return sub
}

// unserved returns errUnserved for an operation of the phase that has no service here, an error for an argument that does
// not say which service under the operation it is, and nil for an operation that the phase does not have.
func (n *notation) unserved(operation int, argument *ber.Packet) error {
	if !slices.ContainsFunc(n.known, func(s span) bool { return s.first <= operation && operation <= s.last }) {
		return nil
	}
	for at := range n.codes {
		if at.number == operation && under(argument) < 0 {
			return mistyped("a feature")
		}
	}
	return errUnserved
}
