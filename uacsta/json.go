package uacsta

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/beevik/etree"
)

// MarshalJSON encodes the message as {"name", "kind", "content"}. content has a member for each child:
// its text, or an object of its children, or a list if the name repeats. Attributes are left out.
func (m *Message) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(`{"name":`)
	writeJSON(&b, m.Name())
	b.WriteString(`,"kind":`)
	writeJSON(&b, m.Kind().String())
	b.WriteString(`,"content":`)
	elementJSON(&b, m.root, true)
	b.WriteByte('}')
	return b.Bytes(), nil
}

func writeJSON(b *bytes.Buffer, s string) {
	text, _ := json.Marshal(s) // a string always marshals
	b.Write(text)
}

func elementJSON(b *bytes.Buffer, e *etree.Element, object bool) {
	children := e.ChildElements()
	if len(children) == 0 && !object {
		writeJSON(b, strings.TrimSpace(e.Text()))
		return
	}
	b.WriteByte('{')
	written := map[string]bool{}
	for _, c := range children {
		if written[c.Tag] {
			continue
		}
		if len(written) > 0 {
			b.WriteByte(',')
		}
		written[c.Tag] = true
		writeJSON(b, c.Tag)
		b.WriteByte(':')
		var same []*etree.Element
		for _, other := range children {
			if other.Tag == c.Tag {
				same = append(same, other)
			}
		}
		if len(same) == 1 {
			elementJSON(b, c, false)
			continue
		}
		for i, other := range same {
			b.WriteByte("[,"[min(i, 1)])
			elementJSON(b, other, false)
		}
		b.WriteByte(']')
	}
	b.WriteByte('}')
}
