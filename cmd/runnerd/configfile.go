package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// configFile is the third place where a setting may stand, after flags and the environment. It is a flat YAML mapping: a key is
// a flag's name, a list is what the flag takes between commas. A key that no flag has is an error: a setting that is
// silently ignored is found on the day that it is needed.
type configFile struct {
	path   string // as --config or its variable say; read once
	values map[string]yaml.Node
	err    error
}

// Validate is called by kong; what there is to check is checked while resolving, before any value counts.
func (f *configFile) Validate(*kong.Application) error { return f.err }

// Resolve returns the value of a flag that is given neither on the command line nor in the environment.
func (f *configFile) Resolve(ctx *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	if err := f.load(ctx, parent.Flags); err != nil {
		return nil, err
	}
	node, ok := f.values[flag.Name]
	if !ok || node.Tag == "!!null" || slices.ContainsFunc(flag.Envs, isSet) {
		return nil, nil
	}
	text, err := plain(node, flag.IsMap())
	if err != nil {
		return nil, fmt.Errorf("%s, line %d: %s %w", f.path, node.Line, flag.Name, err)
	}
	return text, nil
}

// load reads the file that the flags of a command name. A command without a --config has none.
func (f *configFile) load(ctx *kong.Context, flags []*kong.Flag) error {
	at := slices.IndexFunc(flags, func(flag *kong.Flag) bool { return flag.Name == "config" })
	if at < 0 || f.values != nil || f.err != nil {
		return f.err
	}
	f.values = map[string]yaml.Node{}
	path, _ := ctx.FlagValue(flags[at]).(string)
	if path == "" {
		return nil
	}
	f.path = path
	f.err = f.read(flags)
	return f.err
}

func (f *configFile) read(flags []*kong.Flag) error {
	text, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("read the settings: %w", err)
	}
	if err := yaml.Unmarshal(text, &f.values); err != nil {
		return fmt.Errorf("read the settings in %s: %w", f.path, err)
	}
	var names []string
	for _, flag := range flags {
		if flag.Name != "help" && flag.Name != "config" {
			names = append(names, flag.Name)
		}
	}
	return f.unknown(names)
}

func (f *configFile) unknown(names []string) error {
	var errs []error
	for key, node := range f.values {
		if !slices.Contains(names, key) {
			errs = append(errs, fmt.Errorf("%s, line %d: there is no setting %q%s", f.path, node.Line, key, didYouMean(key, names)))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// plain is a node as it would be written on the command line. pairs: the flag takes a mapping.
func plain(node yaml.Node, pairs bool) (string, error) {
	switch {
	case node.Kind == yaml.ScalarNode:
		return node.Value, nil
	case node.Kind == yaml.SequenceNode && scalars(node):
		var items []string
		for _, item := range node.Content {
			items = append(items, item.Value)
		}
		return strings.Join(items, ","), nil
	case node.Kind == yaml.MappingNode && pairs && scalars(node):
		var items []string
		for pair := range slices.Chunk(node.Content, 2) {
			items = append(items, pair[0].Value+"="+pair[1].Value)
		}
		return strings.Join(items, ";"), nil
	case pairs:
		return "", errors.New("is no mapping from one plain value to another")
	default:
		return "", errors.New("is neither a plain value nor a list of them: settings do not nest")
	}
}

func scalars(node yaml.Node) bool {
	return !slices.ContainsFunc(node.Content, func(n *yaml.Node) bool { return n.Kind != yaml.ScalarNode })
}

func isSet(variable string) bool {
	_, ok := os.LookupEnv(variable)
	return ok
}
