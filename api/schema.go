package api

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// describeBodies writes what the body of an action has into the description: the members of the request in CSTA's JSON
// form, without those that the path gives, and the short ones.
func (s *Server) describeBodies(a *action) {
	item := s.api.OpenAPI().Paths[a.path()]
	op := map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPut: item.Put, http.MethodPost: item.Post}[a.method]
	result := s.api.OpenAPI().Components.Schemas.Schema(typeOf[Result](), true, "Result")
	look := s.api.OpenAPI().Components.Schemas.Schema(typeOf[Outlook](), true, "Outlook")
	done, would := "The switch has done it.", "What would happen (dryRun)."
	ok := func(description string, schemas ...*huma.Schema) *huma.Response {
		schema := schemas[0]
		if len(schemas) > 1 {
			schema = &huma.Schema{AnyOf: schemas}
		}
		return &huma.Response{Description: description, Content: map[string]*huma.MediaType{typeJSON: {Schema: schema}}}
	}
	if a.service == uacsta.NameMakeCall {
		op.Responses["201"], op.Responses["200"] = ok(done, result), ok(would, look)
	} else {
		op.Responses["200"] = ok(done+" "+would, result, look)
	}
	if a.method == http.MethodGet {
		return
	}
	body := schemaOf(uacsta.JSONSchema(a.service))
	given := []string{a.object}
	if a.other != "" {
		given = []string{"heldCall", "activeCall"}
		body.Properties["with"] = short(textual("the second call; without it the only other call of the device that fits"))
	}
	for _, member := range given {
		delete(body.Properties, member)
		delete(body.Properties, "@"+member)
	}
	toMust := a.to != "" && a.by == "" && slices.Contains(body.Required, a.to)
	body.Required = slices.DeleteFunc(body.Required, func(member string) bool { return slices.Contains(given, member) || member == a.to || member == a.by })
	if a.to != "" {
		body.Properties["to"] = short(textual("where the call goes: " + a.to + " of CSTA"))
	}
	if a.by != "" {
		body.Properties["by"] = short(textual("the device that does it: " + a.by + " of CSTA"))
	}
	if _, has := body.Properties["correlatorData"]; has {
		body.Properties["correlator"] = short(textual("text that stays with the call: correlatorData of CSTA; digits after hex: are octets"))
	}
	if a.service == uacsta.NameMakeCall {
		body.Properties["prompt"] = short(&huma.Schema{Type: "boolean", Description: "let the calling telephone ring first, as autoOriginate prompt of CSTA"})
	}
	op.RequestBody.Required = len(body.Required) > 0 || toMust
	media := &huma.MediaType{Schema: body}
	if example := a.example(); len(example) > 0 {
		media.Example = example
	}
	op.RequestBody.Content = map[string]*huma.MediaType{typeJSON: media}
}

// example returns a body for the action: the example of its service, with short members where there are any.
func (a *action) example() map[string]any {
	document, _ := json.Marshal(uacsta.Example(a.service)) // there is one of each request
	var message map[string]map[string]any
	_ = json.Unmarshal(document, &message)
	fields := message[a.service]
	for short, member := range a.shorts() {
		value, given := fields[member]
		if list, many := value.([]any); many && short == "to" && len(list) == 1 {
			value = list[0]
		}
		if delete(fields, member); given {
			fields[short] = value
		}
	}
	if a.service == uacsta.NameMakeCall {
		delete(fields, "autoOriginate") // as prompt says
	}
	members := a.members()
	for name, value := range fields {
		if list, is := value.([]any); is && len(list) == 0 || !slices.Contains(members, name) {
			delete(fields, name)
		}
	}
	return fields
}

// short is the schema of a member that is not CSTA's. The page shows these first.
func short(schema *huma.Schema) *huma.Schema {
	schema.Extensions = map[string]any{"x-short": true}
	return schema
}

func textual(description string) *huma.Schema {
	return &huma.Schema{Type: "string", Description: description}
}

// values returns a list of texts in a schema of package uacsta.
func values(m map[string]any, keyword string) (list []any) {
	texts, _ := m[keyword].([]string)
	for _, text := range texts {
		list = append(list, text)
	}
	return list
}

// schemaOf converts a JSON Schema of package uacsta.
func schemaOf(m map[string]any) *huma.Schema {
	s := &huma.Schema{}
	s.Type, _ = m["type"].(string)
	if value, ok := m["const"]; ok {
		s.Enum = []any{value}
	}
	s.Enum = append(s.Enum, values(m, "enum")...)
	s.Examples = values(m, "examples")
	if items, ok := m["items"].(map[string]any); ok {
		s.Items = schemaOf(items)
	}
	if required, ok := m["required"].([]string); ok {
		s.Required = required
	}
	switch more := m["additionalProperties"].(type) {
	case bool:
		s.AdditionalProperties = more
	case map[string]any:
		s.AdditionalProperties = schemaOf(more)
	}
	if properties, ok := m["properties"].(map[string]any); ok {
		s.Properties = map[string]*huma.Schema{}
		for name, value := range properties {
			s.Properties[name] = schemaOf(value.(map[string]any))
		}
	}
	return s
}
