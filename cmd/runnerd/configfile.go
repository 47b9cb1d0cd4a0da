package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// configFile is the source of settings that are given neither by a flag nor by the environment. It is a flat YAML mapping: a key is
// a flag's name, and a list is the same as a comma-separated value of the flag. For `run`, an unknown key is an error, because a silently
// ignored setting is noticed only when it is needed. Other commands take only their own settings from the file.
type configFile struct {
	path   string // from --config or its variable; read once
	values map[string]fileValue
	used   map[string]int // the line of each setting that the file decided
	err    error
}

// fileValue is the value of a key.
type fileValue struct {
	line int // of the key, from 1
	text string
}

// Validate is called by kong. It returns the error that Resolve found.
func (f *configFile) Validate(*kong.Application) error { return f.err }

// Resolve returns the value of a flag that is set neither on the command line nor in the environment.
func (f *configFile) Resolve(ctx *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	if err := f.load(ctx, parent.Flags); err != nil {
		return nil, err
	}
	value, ok := f.values[flag.Name]
	if !ok || slices.ContainsFunc(flag.Envs, isSet) {
		return nil, nil
	}
	f.used[flag.Name] = value.line
	return value.text, nil
}

// load reads the file that --config names. Commands without that flag have no file.
func (f *configFile) load(ctx *kong.Context, flags []*kong.Flag) error {
	at := slices.IndexFunc(flags, func(flag *kong.Flag) bool { return flag.Name == "config" })
	if at < 0 || f.values != nil || f.err != nil {
		return f.err
	}
	f.values, f.used = map[string]fileValue{}, map[string]int{}
	path, _ := ctx.FlagValue(flags[at]).(string)
	if path == "" {
		return nil
	}
	f.path = path
	f.err = f.read(flags, ctx.Selected().Name == "run")
	return f.err
}

// read returns all errors of the file at once. If strict, each key must be the name of a flag.
func (f *configFile) read(flags []*kong.Flag, strict bool) error {
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
	top := document.Content[0]
	if top.Kind != yaml.MappingNode && top.Tag != "!!null" {
		return fmt.Errorf(`%s:%d: expected "key: value"`, f.path, top.Line)
	}
	byName := map[string]*kong.Flag{}
	for _, flag := range flags {
		if flag.Name != "help" && flag.Name != "config" {
			byName[flag.Name] = flag
		}
	}
	var errs []error
	lines := map[string]int{}
	for pair := range slices.Chunk(top.Content, 2) {
		key, line, flag := pair[0].Value, pair[0].Line, byName[pair[0].Value]
		if first := lines[key]; first > 0 {
			errs = append(errs, fmt.Errorf("%s:%d: %s is already set in line %d", f.path, line, key, first))
		}
		lines[key] = line
		switch {
		case flag == nil && strict:
			errs = append(errs, fmt.Errorf("%s:%d: there is no setting %q%s", f.path, line, key, didYouMean(key, slices.Sorted(maps.Keys(byName)))))
		case flag != nil && pair[1].Tag != "!!null":
			text, err := flagText(pair[1], flag)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s:%d: %s: %w", f.path, line, key, err))
			}
			f.values[key] = fileValue{line, text}
		}
	}
	return errors.Join(errs...)
}

// locate adds file and line to each error that begins with a setting that the file decided.
func (f *configFile) locate(err error) error {
	if exit, ok := err.(exitError); ok {
		return exitError{f.locate(exit.error), exit.code}
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, err := range joined.Unwrap() {
			errs = append(errs, f.locate(err))
		}
		return errors.Join(errs...)
	}
	if err == nil {
		return nil
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "--"), " ")
	if line := f.used[strings.TrimSuffix(name, ":")]; line > 0 {
		return fmt.Errorf("%s:%d: %w", f.path, line, err)
	}
	return err
}

// flagText returns a node as it would be written on the command line, and an error if the flag does not accept it.
func flagText(node *yaml.Node, flag *kong.Flag) (text string, err error) {
	switch {
	case node.Kind == yaml.ScalarNode:
		text = node.Value
	case node.Kind == yaml.SequenceNode && allScalars(node):
		var items []string
		for _, item := range node.Content {
			items = append(items, item.Value)
		}
		text = strings.Join(items, ",")
	case node.Kind == yaml.MappingNode && flag.IsMap() && allScalars(node):
		var items []string
		for pair := range slices.Chunk(node.Content, 2) {
			items = append(items, pair[0].Value+"="+pair[1].Value)
		}
		text = strings.Join(items, ";")
	case flag.IsMap():
		return "", errors.New("expected a mapping of plain values")
	default:
		return "", errors.New("expected a plain value or a list of plain values: settings do not nest")
	}
	if flag.Enum != "" && !flag.EnumMap()[text] {
		return "", fmt.Errorf("%q is not one of %s", text, strings.Trim(strings.Join(flag.EnumSlice(), ", "), ", "))
	}
	scan := kong.ScanFromTokens(kong.Token{Type: kong.FlagValueToken, Value: text})
	return text, flag.Mapper.Decode(&kong.DecodeContext{Value: flag.Value, Scan: scan}, reflect.New(flag.Target.Type()).Elem())
}

func allScalars(node *yaml.Node) bool {
	return !slices.ContainsFunc(node.Content, func(n *yaml.Node) bool { return n.Kind != yaml.ScalarNode })
}

func isSet(variable string) bool {
	_, ok := os.LookupEnv(variable)
	return ok
}
