package uacsta

import (
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"
)

// LocalConnectionState is the state of a connection (ECMA-269 call model).
type LocalConnectionState string

// The states of a connection.
const (
	Null      LocalConnectionState = "null"
	Initiated LocalConnectionState = "initiated"
	Alerting  LocalConnectionState = "alerting"
	Connected LocalConnectionState = "connected"
	Hold      LocalConnectionState = "hold"
	Queued    LocalConnectionState = "queued"
	Fail      LocalConnectionState = "fail"
)

// enumeration is what the values of a text are; without values, any.
type enumeration struct {
	values []string
	others bool // it has other values, too
}

// Values checks that the enumerated values in a message are those of the standard. Parse does not: a switch may have
// values of its own. The error is an [*Unclear] that names the member and lists the values.
func (m *Message) Values() error {
	g := grammars()[m.Name()]
	if g == nil {
		return nil
	}
	detail := g.foreign(m.root, m.Name())
	if detail == "" {
		return nil
	}
	refusal := &Error{Category: Operation, Value: InvalidParameterValue, Detail: detail}
	return &Unclear{Name: m.Name(), Namespace: namespaceOf(m.root), Refusal: refusal}
}

// foreign describes the first value in an element that its enumeration does not have; "" if there is none.
func (g *grammar) foreign(e *etree.Element, path string) string {
	if g.values != nil && !g.others && !slices.Contains(g.values, e.Text()) {
		return path + ": " + quoted(e.Text()) + " is none of " + strings.Join(g.values, ", ")
	}
	if g.shape != shapeStruct {
		return ""
	}
	for i, child := range e.ChildElements() {
		at := g.find(child.Tag, -1)
		if at < 0 {
			continue
		}
		inside := path + "." + child.Tag
		if g.list {
			inside = path + "[" + strconv.Itoa(i) + "]" // as in JSON
		}
		if detail := g.members[at].content.foreign(child, inside); detail != "" {
			return detail
		}
	}
	return ""
}

// ValuesOf returns the values of an enumeration by the name of its type, such as DeviceCategory. The caller must not change
// them.
func ValuesOf(name string) []string { return enumerations[name].values }
