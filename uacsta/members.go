package uacsta

// Member is a member of a message or structure, for forms. Its name and place are those in JSON.
type Member struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"` // text, boolean, integer, number, mark (present or not), device, connection, structure or data (anything)
	Optional bool     `json:"optional,omitempty"`
	Repeats  bool     `json:"repeats,omitempty"` // its value in JSON is a list of values
	Choice   bool     `json:"choice,omitempty"`  // of its members exactly one is there
	Values   []string `json:"values,omitempty"`
	Others   bool     `json:"others,omitempty"`  // there may be other values than Values
	Members  []Member `json:"members,omitempty"` // of a structure, in schema order
}

// MembersOf returns the members of a message, in schema order; nil for a message that the table does not have.
func MembersOf(name string) []Member {
	g := grammars()[name]
	if g == nil {
		return nil
	}
	return g.form(name).forForms()
}

// typeNames are the types of members by the shapes of their content.
var typeNames = map[shape]string{
	shapeBool: "boolean", shapeInt: "integer", shapeFloat: "number", shapeEmpty: "mark", shapeDevice: "device", shapeStruct: "structure", shapeData: "data",
}

func (g *grammar) forForms() []Member {
	list := make([]Member, 0, len(g.members))
	for i := range g.members {
		m := &g.members[i]
		content, repeats := m.content.form(m.name), m.repeats
		if content.list {
			item := &content.members[0]
			content, repeats = item.content.form(item.name), true
		}
		f := Member{Name: m.name, Type: "text", Optional: m.optional || m.repeats || g.choice, Repeats: repeats, Choice: content.choice, Values: content.values, Others: content.others}
		if known := typeNames[content.shape]; known != "" {
			f.Type = known
		}
		if content.connection {
			f.Type = "connection"
		}
		if content.shape == shapeStruct {
			f.Members = content.forForms()
		}
		list = append(list, f)
	}
	return list
}
