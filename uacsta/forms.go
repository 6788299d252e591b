package uacsta

// Field is a member of a message in its JSON form, for those who make forms of it.
type Field struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"` // text, boolean, integer, number, mark (true, or absent), device or group
	Optional bool     `json:"optional,omitempty"`
	List     bool     `json:"list,omitempty"`   // it has any number of values, of this type
	Choice   bool     `json:"choice,omitempty"` // of a group: it has one of its fields
	Values   []string `json:"values,omitempty"` // of a text: those of the standard
	Fields   []Field  `json:"fields,omitempty"` // of a group, in schema order
}

// Fields returns the members of a message, in schema order, without its extensions; nil for a message that the table does not have.
func Fields(name string) []Field {
	g := grammars()[name]
	if g == nil {
		return nil
	}
	return g.form(name).fields()
}

func (g *grammar) fields() []Field {
	list := make([]Field, 0, len(g.members))
	for i := range g.members {
		if m := &g.members[i]; m.name != extensionsName {
			list = append(list, m.field(g.choice))
		}
	}
	return list
}

// field returns a member as a field. choice says that it is one of several.
func (m *member) field(choice bool) Field {
	content := m.content.form(m.name)
	f := Field{Name: m.name, Optional: m.optional || choice, List: m.repeats}
	if content.list {
		item := &content.members[0]
		content, f.List = item.content.form(item.name), true
	}
	f.Type, f.Values = content.kind(), content.values
	if content.shape == shapeStruct {
		f.Choice, f.Fields = content.choice, content.fields()
	}
	return f
}

// kind returns the type of a field.
func (g *grammar) kind() string {
	switch g.shape {
	case shapeBool:
		return "boolean"
	case shapeEmpty:
		return "mark"
	case shapeInt:
		return "integer"
	case shapeFloat:
		return "number"
	case shapeDevice:
		return "device"
	case shapeStruct:
		return "group"
	}
	return "text"
}
