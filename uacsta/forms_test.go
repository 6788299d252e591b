package uacsta

import (
	"encoding/json"
	"slices"
	"testing"
)

// The fields of each request have the members of its example, in the types that the example has, and JSONSchema the same names.
func TestFields(t *testing.T) {
	for _, name := range Services() {
		fields := Fields(name)
		properties, _ := JSONSchema(name)["properties"].(map[string]any)
		for _, f := range fields {
			if properties[f.Name] == nil {
				t.Errorf("%s: the schema has no %s", name, f.Name)
			}
		}
		document, err := json.Marshal(Example(name))
		if err != nil {
			t.Fatal(err)
		}
		var example map[string]any
		if err := json.Unmarshal(document, &example); err != nil {
			t.Fatal(err)
		}
		checkFields(t, name, example[name], fields)
	}
	if Fields("NoSuchService") != nil {
		t.Error("a message that the table does not have has fields")
	}
	reason := Fields(NameMakeCall)[slices.IndexFunc(Fields(NameMakeCall), func(f Field) bool { return f.Name == "reason" })]
	if first := Fields(NameMakeCall)[0]; first.Name != "callingDevice" || first.Type != "device" || first.Optional || !reason.Optional || !slices.Contains(reason.Values, "busy") {
		t.Errorf("MakeCall begins with %+v, and has %+v", first, reason)
	}
}

// checkFields compares a value with the fields of a group.
func checkFields(t *testing.T, path string, value any, fields []Field) {
	t.Helper()
	members, _ := value.(map[string]any)
	for name, member := range members {
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })
		if i < 0 {
			t.Errorf("%s has no field %s", path, name)
			continue
		}
		f := &fields[i]
		items, list := member.([]any)
		if list != f.List {
			t.Errorf("%s.%s is a list: %v, the field: %v", path, name, list, f.List)
		}
		if !list {
			items = []any{member}
		}
		for _, item := range items {
			checkField(t, path+"."+name, item, f)
		}
	}
}

func checkField(t *testing.T, path string, value any, f *Field) {
	t.Helper()
	ok := false
	switch value.(type) {
	case string:
		ok = f.Type == "text" || f.Type == "device"
	case bool:
		ok = f.Type == "boolean" || f.Type == "mark"
	case float64:
		ok = f.Type == "integer" || f.Type == "number"
	case map[string]any:
		ok = f.Type == "group"
		checkFields(t, path, value, f.Fields)
	}
	if !ok {
		t.Errorf("%s is %v, its field %s", path, value, f.Type)
	}
}
