package devserver

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// scriptBase is the built-in type that all scripts extend.
const scriptBase = "xlrelease.RemoteScriptExecution"

// typeDefinitions is what plugins' type-definitions.yaml say, by type name.
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
				return nil, fmt.Errorf("read type definitions: the type %s is there twice", name)
			}
			if definition == nil {
				definition = &typeDefinition{}
			}
			types[name] = definition
		}
	}
	for name := range types {
		if slices.Contains(types.chain(name)[1:], name) {
			return nil, fmt.Errorf("read type definitions: the type %s extends itself", name)
		}
	}
	return types, nil
}

// chain is a type and all that it extends, as far as the definitions go and one further: the built-in type at the end.
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

// resolve is a type with all that it inherits.
type resolvedType struct {
	inputs, outputs map[string]property
	image           string
	script          bool
	acceptsAny      bool // it extends something that is not here: it may have properties that nobody told us of
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

// inherit lets a definition change some fields of a property that it has inherited.
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

// imageOf reads the image of a plugin; one with placeholders that its build has not filled in is none.
func imageOf(hidden any) string {
	if with, ok := hidden.(map[string]any); ok {
		hidden = with["default"]
	}
	image, _ := hidden.(string)
	if strings.Count(image, "@") > 1 {
		return ""
	}
	return image
}

// property finds a property by name. Of an open type it takes any, of the kind that its value suggests; a name that sounds secret
// is a password then, because a log that shows too little can be mended and one that shows too much cannot.
func (s resolvedType) property(name string, value any) (property, bool) {
	p, known := s.inputs[name]
	if known || !s.acceptsAny {
		return p, known
	}
	lower := strings.ToLower(name)
	secret := func(word string) bool { return strings.Contains(lower, word) }
	return property{Kind: kindOf(value), Password: slices.ContainsFunc([]string{"password", "secret", "token", "passphrase"}, secret)}, true
}

// kindOf is the kind that can hold a value.
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
