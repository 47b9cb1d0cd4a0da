package devserver

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"runnerd/infra/contract"
	"runnerd/infra/release/api"
	msg "runnerd/messages"
)

// shortestSecret, in characters, is looked for in logs: what is shorter stands in every log, and no runner masks it.
const shortestSecret = 3

// properties builds what a plugin is told of a task, or of a configuration item: what was given, and defaults. where is
// the path that errors name.
func (t typeDefinitions) properties(typeName, where string, given map[string]any) ([]contract.Property, error) {
	shape := t.shape(typeName)
	for name, value := range given {
		if _, ok := shape.property(name, value); !ok {
			return nil, refuse(400, "%s: the type %s has no property %q; it has %s", where, typeName, name, shape.names())
		}
	}
	names := maps.Clone(shape.inputs)
	for name, value := range given {
		names[name], _ = shape.property(name, value)
	}
	properties := []contract.Property{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		p := names[name]
		value, ok := given[name]
		if !ok || value == nil {
			value = p.Default
		}
		if value == nil && p.Required != nil && *p.Required {
			return nil, refuse(400, "%s: the property %q is required", where, name)
		}
		value, err := t.value(p, where+"."+name, value)
		if err != nil {
			return nil, err
		}
		properties = append(properties, contract.Property{
			Name: name, Value: value, Kind: p.wireKind(), Category: "input", Password: p.Password,
		})
	}
	return properties, nil
}

func (p property) wireKind() string { return strings.ToUpper(cmp.Or(p.Kind, "string")) }

// value makes of what a person wrote what a plugin expects; it is lenient where there is one meaning only.
func (t typeDefinitions) value(p property, where string, v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	switch kind := p.wireKind(); kind {
	case "INTEGER":
		n, err := strconv.ParseInt(textOf(v), 10, 64)
		if err != nil {
			return nil, refuse(400, "%s must be an integer", where)
		}
		return n, nil
	case "BOOLEAN":
		b, err := strconv.ParseBool(fmt.Sprint(v))
		if err != nil {
			return nil, refuse(400, "%s must be true or false", where)
		}
		return b, nil
	case contract.KindCI:
		return t.item(p, where, v)
	case "LIST_OF_CI", "SET_OF_CI":
		return t.items(p, where, v)
	case "LIST_OF_STRING", "SET_OF_STRING":
		return list(where, v)
	case "MAP_STRING_STRING":
		if _, ok := v.(map[string]any); !ok {
			return nil, refuse(400, "%s must be an object with texts", where)
		}
		return v, nil
	case "STRING", "DATE", "ENUM":
		switch v.(type) {
		case map[string]any, []any:
			return nil, refuse(400, "%s must be a text", where)
		}
		return textOf(v), nil
	default:
		return v, nil
	}
}

// textOf writes a number with all its digits.
func textOf(v any) string {
	if n, ok := v.(float64); ok {
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// list takes a list, or texts with commas between them, as definitions write their defaults.
func list(where string, v any) (any, error) {
	switch v := v.(type) {
	case []any:
		return v, nil
	case string:
		texts := []any{}
		for text := range strings.SplitSeq(v, ",") {
			if text = strings.TrimSpace(text); text != "" {
				texts = append(texts, text)
			}
		}
		return texts, nil
	}
	return nil, refuse(400, "%s must be a list of texts", where)
}

// item is a configuration item, given as an object of its properties; "id" and "type" in it are its own.
func (t typeDefinitions) item(p property, where string, v any) (any, error) {
	given, ok := v.(map[string]any)
	if !ok {
		return nil, refuse(400, "%s must be an object with the properties of %s", where, cmp.Or(p.ReferencedType, "the item"))
	}
	given = maps.Clone(given)
	id, _ := given["id"].(string)
	typeName, _ := given["type"].(string)
	delete(given, "id")
	delete(given, "type")
	typeName = cmp.Or(typeName, p.ReferencedType)
	properties, err := t.properties(typeName, where, given)
	if err != nil {
		return nil, err
	}
	return contract.Task{ID: id, Type: typeName, Properties: properties}, nil
}

func (t typeDefinitions) items(p property, where string, v any) (any, error) {
	given, ok := v.([]any)
	if !ok {
		return nil, refuse(400, "%s must be a list of objects", where)
	}
	items := make([]any, 0, len(given))
	for i, one := range given {
		item, err := t.item(p, fmt.Sprintf("%s[%d]", where, i), one)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// withID gives an item, and those in it, the id that a server has for each.
func withID(v any) any {
	switch v := v.(type) {
	case contract.Task:
		v.ID = cmp.Or(v.ID, "Configuration/Custom/"+newID("item"))
		for i := range v.Properties {
			v.Properties[i].Value = withID(v.Properties[i].Value)
		}
		return v
	case []any:
		for i := range v {
			v[i] = withID(v[i])
		}
	}
	return v
}

// bare is an item as scripts get it: one that a person is about to make has no id yet, and perhaps no properties either.
func bare(v any) any {
	switch v := v.(type) {
	case contract.Task:
		item := map[string]any{"type": v.Type}
		if v.ID != "" {
			item["id"] = v.ID
		}
		for i := range v.Properties {
			v.Properties[i].Value = bare(v.Properties[i].Value)
			item["properties"] = v.Properties
		}
		return item
	case []any:
		for i := range v {
			v[i] = bare(v[i])
		}
	}
	return v
}

// input is the input context of a task, as JSON, and every value in it that must never be shown.
func (s *Server) input(id string, request TaskRequest) ([]byte, []msg.Secret, error) {
	properties, err := s.types.properties(request.TaskType, "properties", request.Properties)
	if err != nil {
		return nil, nil, err
	}
	dress := withID
	if request.Kind == api.KindScript {
		dress = bare
	}
	for i := range properties {
		properties[i].Value = dress(properties[i].Value)
	}
	text, err := json.Marshal(contract.InputContext{
		Release: contract.Release{ID: "Applications/Release1", AutomatedTaskAsUser: request.RunAs, URL: s.options.PublicURL},
		Task:    contract.Task{ID: id, Type: request.TaskType, Properties: properties},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("write the input context: %w", err)
	}
	parsed, err := contract.ParseInput(text)
	if err != nil {
		return nil, nil, err
	}
	tooShort := func(s msg.Secret) bool { return utf8.RuneCountInString(string(s)) < shortestSecret }
	return text, slices.DeleteFunc(parsed.Secrets(), tooShort), nil
}
