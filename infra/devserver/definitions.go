package devserver

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// scriptBase is the built-in base type of all scripts.
const scriptBase = "xlrelease.RemoteScriptExecution"

// typeDefinitions are the types of plugins' type-definitions.yaml files, by name.
type typeDefinitions map[string]*typeDefinition

type typeDefinition struct {
	Extends          string              `yaml:"extends"`
	Virtual          bool                `yaml:"virtual"`
	Properties       map[string]property `yaml:"properties"`
	InputProperties  map[string]property `yaml:"input-properties"`
	OutputProperties map[string]property `yaml:"output-properties"`
	HiddenProperties map[string]any      `yaml:"hidden-properties"` // {default: value}, or the value itself
}

type property struct {
	Kind           string `yaml:"kind"`
	Password       bool   `yaml:"password"`
	Required       *bool  `yaml:"required"`
	Default        any    `yaml:"default"`
	ReferencedType string `yaml:"referenced-type"`
}

func parseTypeDefinitions(files [][]byte) (typeDefinitions, error) {
	types := typeDefinitions{}
	for _, file := range files {
		var document struct {
			Types typeDefinitions `yaml:"types"`
		}
		if err := yaml.Unmarshal(file, &document); err != nil {
			return nil, fmt.Errorf("read type definitions: %w", err)
		}
		for name, definition := range document.Types {
			if types[name] != nil {
				return nil, fmt.Errorf("read type definitions: type %s is defined twice", name)
			}
			if definition == nil {
				definition = &typeDefinition{}
			}
			types[name] = definition
		}
	}
	for name := range types {
		if slices.Contains(types.chain(name)[1:], name) {
			return nil, fmt.Errorf("read type definitions: type %s extends itself", name)
		}
	}
	return types, nil
}

// chain returns a type and its ancestors. The last one may be a built-in type, which has no definition.
func (t typeDefinitions) chain(name string) []string {
	chain := []string{name}
	for t[name] != nil && t[name].Extends != "" {
		name = t[name].Extends
		seen := slices.Contains(chain, name)
		chain = append(chain, name)
		if seen {
			break
		}
	}
	return chain
}

// resolvedType is a type with its inherited properties.
type resolvedType struct {
	inputs, outputs map[string]property
	image           string
	script          bool
	acceptsAny      bool // it extends an unknown type, so it may have unknown properties
}

func (t typeDefinitions) resolve(name string) resolvedType {
	s := resolvedType{inputs: map[string]property{}, outputs: map[string]property{}}
	for _, ancestor := range slices.Backward(t.chain(name)) {
		definition := t[ancestor]
		if definition == nil {
			s.script = ancestor == scriptBase
			s.acceptsAny = !s.script && ancestor != "xlrelease.ContainerTask"
			continue
		}
		inherit(s.inputs, definition.Properties)
		inherit(s.inputs, definition.InputProperties)
		inherit(s.outputs, definition.OutputProperties)
		if image := imageOf(definition.HiddenProperties["image"]); image != "" {
			s.image = image
		}
	}
	return s
}

// inherit adds own properties to the inherited ones. A field that an own property leaves out keeps its inherited value.
func inherit(into, own map[string]property) {
	for name, p := range own {
		base := into[name]
		if p.Kind == "" {
			p.Kind = base.Kind
		}
		if p.Required == nil {
			p.Required = base.Required
		}
		if p.Default == nil {
			p.Default = base.Default
		}
		if p.ReferencedType == "" {
			p.ReferencedType = base.ReferencedType
		}
		p.Password = p.Password || base.Password
		into[name] = p
	}
}

// imageOf returns the image of a plugin, or "" if it still has build placeholders (@registry.url@).
func imageOf(hidden any) string {
	if object, ok := hidden.(map[string]any); ok {
		hidden = object["default"]
	}
	image, _ := hidden.(string)
	if strings.Count(image, "@") > 1 {
		return ""
	}
	return image
}

// property returns a property by name. If the type accepts any property, an unknown one gets its kind from its value, and is a
// password if its name sounds secret: masking too much does less harm than showing a password.
func (s resolvedType) property(name string, value any) (property, bool) {
	p, known := s.inputs[name]
	if known || !s.acceptsAny {
		return p, known
	}
	lower := strings.ToLower(name)
	secret := func(word string) bool { return strings.Contains(lower, word) }
	return property{Kind: kindOf(value), Password: slices.ContainsFunc([]string{"password", "secret", "token", "passphrase"}, secret)}, true
}

// kindOf returns the property kind of a JSON value.
func kindOf(value any) string {
	switch value := value.(type) {
	case bool:
		return "boolean"
	case int, int64:
		return "integer"
	case float64:
		if value == math.Trunc(value) {
			return "integer"
		}
	case []any:
		return "list_of_string"
	case map[string]any:
		return "map_string_string"
	}
	return "string"
}

func (s resolvedType) inputNames() string {
	if len(s.inputs) == 0 {
		return "no properties"
	}
	return strings.Join(slices.Sorted(maps.Keys(s.inputs)), ", ")
}
