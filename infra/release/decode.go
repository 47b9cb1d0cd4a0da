package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
)

// decode reads an answer in JSON. What the document requires must be there: a generated type marks it by a tag without
// omitempty, so the document stays the one place that says so.
func decode(op string, res *http.Response, into any) error {
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("%s: read answer: %w", op, err)
	}
	if !json.Valid(text) {
		return strange(op, res, text, "JSON was expected")
	}
	if err := fill(reflect.ValueOf(into).Elem(), text, ""); err != nil {
		return strange(op, res, nil, err.Error())
	}
	return nil
}

var errMissing = errors.New("it is missing")

// fill sets v from JSON; an error names the path of the field.
func fill(v reflect.Value, text json.RawMessage, path string) error {
	switch {
	case v.Kind() == reflect.Struct:
		return fillStruct(v, text, path)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		var items []json.RawMessage
		if err := json.Unmarshal(text, &items); err != nil {
			return fmt.Errorf("%s: a list was expected", name(path))
		}
		v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
		for n, item := range items {
			if err := fill(v.Index(n), item, fmt.Sprintf("%s[%d]", path, n)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := json.Unmarshal(text, v.Addr().Interface()); err != nil {
		return fmt.Errorf("%s: %w", name(path), err)
	}
	return nil
}

func fillStruct(v reflect.Value, text json.RawMessage, path string) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil || members == nil {
		return fmt.Errorf("%s: an object was expected", name(path))
	}
	for n := range v.NumField() {
		key, options, _ := strings.Cut(v.Type().Field(n).Tag.Get("json"), ",")
		field := strings.TrimPrefix(path+"."+key, ".")
		member, ok := members[key]
		switch {
		case ok && string(member) != "null":
			if err := fill(v.Field(n), member, field); err != nil {
				return err
			}
		case !strings.Contains(options, "omitempty"):
			return fmt.Errorf("%s: %w", field, errMissing)
		}
	}
	return nil
}

func name(path string) string {
	if path == "" {
		return "the answer"
	}
	return path
}
