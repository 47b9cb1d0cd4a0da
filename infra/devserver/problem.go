package devserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"runnerd/infra/release/api"
)

// maxSmallBody is the maximum size in bytes of a body without a payload.
const maxSmallBody = 1 << 20

// requestError is an error that the client of a request gets as a problem document.
type requestError struct {
	status int
	detail string
}

func (r *requestError) Error() string { return r.detail }

func errorf(status int, format string, args ...any) error {
	return &requestError{status, fmt.Sprintf(format, args...)}
}

// respond ends a request without a response body: with 204, or with the error as a problem document.
func respond(w http.ResponseWriter, err error) {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	status := http.StatusInternalServerError
	var large *http.MaxBytesError
	if r, ok := errors.AsType[*requestError](err); ok {
		status = r.status
	} else if errors.As(err, &large) {
		status = http.StatusRequestEntityTooLarge
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(api.Problem{Title: http.StatusText(status), Status: status, Detail: err.Error()})
}

func respondJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// decodeJSON decodes a JSON body of at most limit bytes. It fails if one of the required fields is missing, null or empty.
func decodeJSON(w http.ResponseWriter, r *http.Request, limit int64, into any, required ...string) error {
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/json" {
		return errorf(http.StatusUnsupportedMediaType, "the Content-Type must be application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return fmt.Errorf("read request body: %w", err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return errorf(400, "the body must be a JSON object: %v", describeJSONError(err))
	}
	for _, name := range required {
		if value := string(fields[name]); value == "" || value == "null" || value == `""` {
			return errorf(400, "the field %q is missing", name)
		}
	}
	if err := json.Unmarshal(body, into); err != nil {
		return errorf(400, "the body is invalid: %v", describeJSONError(err))
	}
	return nil
}

// decodeStrictJSON decodes a user's JSON body. Unknown fields are errors, because they are probably misspelled.
func decodeStrictJSON(w http.ResponseWriter, r *http.Request, limit int64, into any, required ...string) error {
	var body json.RawMessage
	if err := decodeJSON(w, r, limit, &body, required...); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return errorf(400, "the body is invalid: %v", describeJSONError(err))
	}
	return nil
}

// describeJSONError names the field of a value of the wrong type. It leaves out the Go type, which means nothing to the client.
func describeJSONError(err error) error {
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case !ok:
		return err
	case wrong.Field == "":
		return fmt.Errorf("got %s", wrong.Value)
	}
	return fmt.Errorf("the field %q cannot be of type %s", wrong.Field, wrong.Value)
}
