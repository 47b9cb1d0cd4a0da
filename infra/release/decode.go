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

// decode reads a JSON answer. It requires the fields that openapi.yaml requires, which generated types mark by a tag without omitempty.
func decode(op string, res *http.Response, into any) error {
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("%s: read the answer: %w", op, err)
	}
	if !json.Valid(text) {
		return protocolError(op, res, text, "expected JSON")
	}
	if err := decodeValue(reflect.ValueOf(into).Elem(), text, ""); err != nil {
		return protocolError(op, res, nil, err.Error())
	}
	return nil
}

var errMissing = errors.New("missing")

// decodeValue sets v from JSON. Errors begin with the path of the field.
func decodeValue(v reflect.Value, text json.RawMessage, path string) error {
	switch {
	case v.Kind() == reflect.Struct:
		return decodeStruct(v, text, path)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		var items []json.RawMessage
		if err := json.Unmarshal(text, &items); err != nil {
			return fmt.Errorf("%s: expected a list", fieldName(path))
		}
		v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
		for n, item := range items {
			if err := decodeValue(v.Index(n), item, fmt.Sprintf("%s[%d]", path, n)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := json.Unmarshal(text, v.Addr().Interface()); err != nil {
		return fmt.Errorf("%s: %w", fieldName(path), err)
	}
	return nil
}

func decodeStruct(v reflect.Value, text json.RawMessage, path string) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil || members == nil {
		return fmt.Errorf("%s: expected an object", fieldName(path))
	}
	for n := range v.NumField() {
		key, options, _ := strings.Cut(v.Type().Field(n).Tag.Get("json"), ",")
		field := strings.TrimPrefix(path+"."+key, ".")
		member, ok := members[key]
		switch {
		case ok && string(member) != "null":
			if err := decodeValue(v.Field(n), member, field); err != nil {
				return err
			}
		case !strings.Contains(options, "omitempty"):
			return fmt.Errorf("%s: %w", field, errMissing)
		}
	}
	return nil
}

func fieldName(path string) string {
	if path == "" {
		return "the answer"
	}
	return path
}
