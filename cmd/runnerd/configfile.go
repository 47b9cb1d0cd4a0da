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

// configFile is the source of settings that are given neither by a flag nor by the environment. It is a flat YAML mapping: a key is
// a flag's name, and a list is the same as a comma-separated value of the flag. An unknown key is an error, because a silently ignored
// setting is noticed only when it is needed.
type configFile struct {
	path   string // from --config or its variable; read once
	values map[string]yaml.Node
	err    error
}

// Validate is called by kong. It returns the error that Resolve found.
func (f *configFile) Validate(*kong.Application) error { return f.err }

// Resolve returns the value of a flag that is set neither on the command line nor in the environment.
func (f *configFile) Resolve(ctx *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	if err := f.load(ctx, parent.Flags); err != nil {
		return nil, err
	}
	node, ok := f.values[flag.Name]
	if !ok || node.Tag == "!!null" || slices.ContainsFunc(flag.Envs, isSet) {
		return nil, nil
	}
	text, err := flagText(node, flag.IsMap())
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %s: %w", f.path, node.Line, flag.Name, err)
	}
	return text, nil
}

// load reads the file that --config names. Commands without that flag have no file.
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
		return fmt.Errorf("read --config: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if len(document.Content) == 0 { // the file is empty
		return nil
	}
	if top := document.Content[0]; top.Kind != yaml.MappingNode && top.Tag != "!!null" {
		return fmt.Errorf(`%s:%d: expected "key: value"`, f.path, top.Line)
	}
	if err := document.Decode(&f.values); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	var names []string
	for _, flag := range flags {
		if flag.Name != "help" && flag.Name != "config" {
			names = append(names, flag.Name)
		}
	}
	return f.checkKeys(names)
}

// checkKeys returns an error for each key that is not one of names.
func (f *configFile) checkKeys(names []string) error {
	var errs []error
	for key, node := range f.values {
		if !slices.Contains(names, key) {
			errs = append(errs, fmt.Errorf("%s:%d: there is no setting %q%s", f.path, node.Line, key, didYouMean(key, names)))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// flagText returns a node as it would be written on the command line; pairs reports whether the flag takes a mapping.
func flagText(node yaml.Node, pairs bool) (string, error) {
	switch {
	case node.Kind == yaml.ScalarNode:
		return node.Value, nil
	case node.Kind == yaml.SequenceNode && allScalars(node):
		var items []string
		for _, item := range node.Content {
			items = append(items, item.Value)
		}
		return strings.Join(items, ","), nil
	case node.Kind == yaml.MappingNode && pairs && allScalars(node):
		var items []string
		for pair := range slices.Chunk(node.Content, 2) {
			items = append(items, pair[0].Value+"="+pair[1].Value)
		}
		return strings.Join(items, ";"), nil
	case pairs:
		return "", errors.New("expected a mapping of plain values")
	default:
		return "", errors.New("expected a plain value or a list of plain values: settings do not nest")
	}
}

func allScalars(node yaml.Node) bool {
	return !slices.ContainsFunc(node.Content, func(n *yaml.Node) bool { return n.Kind != yaml.ScalarNode })
}

func isSet(variable string) bool {
	_, ok := os.LookupEnv(variable)
	return ok
}
