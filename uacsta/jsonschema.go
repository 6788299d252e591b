package uacsta

// JSONSchema returns the JSON Schema (2020-12) of the members of a message in its JSON form, in edition 6; nil for a
// message that the table does not have. The caller may change it.
func JSONSchema(name string) map[string]any {
	g := grammars()[name]
	if g == nil {
		return nil
	}
	return g.form(name).schema()
}

// schema returns the schema of a value.
func (g *grammar) schema() map[string]any {
	switch g.shape {
	case shapeBool:
		return map[string]any{"type": "boolean"}
	case shapeEmpty:
		return map[string]any{"type": "boolean", "const": true}
	case shapeInt:
		return map[string]any{"type": "integer"}
	case shapeFloat:
		return map[string]any{"type": "number"}
	case shapeStruct:
		return g.object()
	}
	schema := map[string]any{"type": "string"}
	switch {
	case g.others:
		schema["examples"] = g.values
	case g.values != nil:
		schema["enum"] = g.values
	}
	return schema
}

// object returns the schema of a structure.
func (g *grammar) object() map[string]any {
	attributes := map[string]any{"type": "object", "additionalProperties": map[string]any{"type": "string"}}
	properties := map[string]any{jsonAttributes: attributes, jsonOthers: list(map[string]any{"type": "string"})}
	required := []string{}
	for i := range g.members {
		m := &g.members[i]
		content, beside := m.content.form(m.name), attributes
		var value map[string]any
		switch {
		case content.list:
			value, beside = list(content.members[0].content.form(content.members[0].name).schema()), list(attributes)
		case m.repeats:
			value, beside = list(content.schema()), list(attributes)
		default:
			value = content.schema()
		}
		properties[m.name] = value
		if content.shape != shapeStruct {
			properties[jsonAttributes+m.name] = beside
		}
		if !m.optional && !m.repeats && !g.choice {
			required = append(required, m.name)
		}
	}
	schema := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema
}

func list(item map[string]any) map[string]any { return map[string]any{"type": "array", "items": item} }

// ConnectionsOf returns the members of a message that are connection identifiers, in schema order.
func ConnectionsOf(name string) []string {
	return single(name, func(g *grammar) bool { return g.connection })
}

// DevicesOf returns the members of a message that are device identifiers, in schema order.
func DevicesOf(name string) []string {
	return single(name, func(g *grammar) bool { return g.shape == shapeDevice || g.shape == shapeDestinations })
}

// single returns the members of a message that occur once at most and whose content is of a kind, in schema order.
func single(name string, kind func(*grammar) bool) []string {
	var names []string
	if g := grammars()[name]; g != nil {
		for i := range g.members {
			if m := &g.members[i]; !m.repeats && kind(m.content) {
				names = append(names, m.name)
			}
		}
	}
	return names
}
