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

// minSecretLength is the length in characters of the shortest secret to look for in logs. Shorter ones occur in every log, and
// runners do not mask them.
const minSecretLength = 3

// properties returns the properties of a task or a configuration item for its plugin: the given values and the defaults.
// Errors name the path.
func (t typeDefinitions) properties(typeName, path string, given map[string]any) ([]contract.Property, error) {
	resolved := t.resolve(typeName)
	for name, value := range given {
		if _, ok := resolved.property(name, value); !ok {
			return nil, errorf(400, "%s: type %s has no property %q; it has %s", path, typeName, name, resolved.inputNames())
		}
	}
	names := maps.Clone(resolved.inputs)
	for name, value := range given {
		names[name], _ = resolved.property(name, value)
	}
	properties := []contract.Property{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		p := names[name]
		value, ok := given[name]
		if !ok || value == nil {
			value = p.Default
		}
		if value == nil && p.Required != nil && *p.Required {
			return nil, errorf(400, "%s: the property %q is required", path, name)
		}
		value, err := t.convert(p, path+"."+name, value)
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

// convert converts a user's value to the type that plugins expect. It accepts other JSON types if the meaning is unambiguous.
func (t typeDefinitions) convert(p property, path string, v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	switch kind := p.wireKind(); kind {
	case "INTEGER":
		n, err := strconv.ParseInt(formatText(v), 10, 64)
		if err != nil {
			return nil, errorf(400, "%s must be an integer", path)
		}
		return n, nil
	case "BOOLEAN":
		b, err := strconv.ParseBool(fmt.Sprint(v))
		if err != nil {
			return nil, errorf(400, "%s must be true or false", path)
		}
		return b, nil
	case contract.KindCI:
		return t.convertItem(p, path, v)
	case "LIST_OF_CI", "SET_OF_CI":
		return t.convertItems(p, path, v)
	case "LIST_OF_STRING", "SET_OF_STRING":
		return convertList(path, v)
	case "MAP_STRING_STRING":
		if _, ok := v.(map[string]any); !ok {
			return nil, errorf(400, "%s must be an object with string values", path)
		}
		return v, nil
	case "STRING", "DATE", "ENUM":
		switch v.(type) {
		case map[string]any, []any:
			return nil, errorf(400, "%s must be a string", path)
		}
		return formatText(v), nil
	default:
		return v, nil
	}
}

// formatText formats a value as a string. A number has all its digits, never an exponent.
func formatText(v any) string {
	if n, ok := v.(float64); ok {
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// convertList accepts a list or a comma-separated string. Definitions write their defaults as the latter.
func convertList(path string, v any) (any, error) {
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
	return nil, errorf(400, "%s must be a list of strings", path)
}

// convertItem converts an object to a configuration item. Its keys are property names, except "id" and "type".
func (t typeDefinitions) convertItem(p property, path string, v any) (any, error) {
	given, ok := v.(map[string]any)
	if !ok {
		return nil, errorf(400, "%s must be an object with the properties of %s", path, cmp.Or(p.ReferencedType, "the item"))
	}
	given = maps.Clone(given)
	id, _ := given["id"].(string)
	typeName, _ := given["type"].(string)
	delete(given, "id")
	delete(given, "type")
	typeName = cmp.Or(typeName, p.ReferencedType)
	properties, err := t.properties(typeName, path, given)
	if err != nil {
		return nil, err
	}
	return contract.Task{ID: id, Type: typeName, Properties: properties}, nil
}

func (t typeDefinitions) convertItems(p property, path string, v any) (any, error) {
	given, ok := v.([]any)
	if !ok {
		return nil, errorf(400, "%s must be a list of objects", path)
	}
	items := make([]any, 0, len(given))
	for i, element := range given {
		item, err := t.convertItem(p, fmt.Sprintf("%s[%d]", path, i), element)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// assignIDs gives an id to each item without one, including nested items.
func assignIDs(v any) any {
	switch v := v.(type) {
	case contract.Task:
		v.ID = cmp.Or(v.ID, "Configuration/Custom/"+newID("item"))
		for i := range v.Properties {
			v.Properties[i].Value = assignIDs(v.Properties[i].Value)
		}
		return v
	case []any:
		for i := range v {
			v[i] = assignIDs(v[i])
		}
	}
	return v
}

// toScriptItem converts items to the form that scripts get: an item that a user is still editing may have no id and no properties.
func toScriptItem(v any) any {
	switch v := v.(type) {
	case contract.Task:
		item := map[string]any{"type": v.Type}
		if v.ID != "" {
			item["id"] = v.ID
		}
		for i := range v.Properties {
			v.Properties[i].Value = toScriptItem(v.Properties[i].Value)
			item["properties"] = v.Properties
		}
		return item
	case []any:
		for i := range v {
			v[i] = toScriptItem(v[i])
		}
	}
	return v
}

// buildInput returns the input context of a task as JSON, and its secrets.
func (s *Server) buildInput(id string, request TaskRequest) ([]byte, []msg.Secret, error) {
	properties, err := s.types.properties(request.TaskType, "properties", request.Properties)
	if err != nil {
		return nil, nil, err
	}
	transform := assignIDs
	if request.Kind == api.KindScript {
		transform = toScriptItem
	}
	for i := range properties {
		properties[i].Value = transform(properties[i].Value)
	}
	text, err := json.Marshal(contract.InputContext{
		Release: contract.Release{ID: "Applications/Release1", AutomatedTaskAsUser: request.RunAs, URL: s.options.PublicURL},
		Task:    contract.Task{ID: id, Type: request.TaskType, Properties: properties},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("encode input context: %w", err)
	}
	parsed, err := contract.ParseInput(text)
	if err != nil {
		return nil, nil, err
	}
	tooShort := func(s msg.Secret) bool { return utf8.RuneCountInString(string(s)) < minSecretLength }
	return text, slices.DeleteFunc(parsed.Secrets(), tooShort), nil
}
