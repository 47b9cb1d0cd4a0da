package contract_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"runnerd/infra/contract"
	msg "runnerd/messages"
)

func TestSecretsFindsAllPasswordValues(t *testing.T) {
	for what, test := range map[string]struct {
		input string
		want  []string
	}{
		"nothing marked":                {`{"task":{"properties":[{"name":"a","value":"open","password":false}]}}`, nil},
		"a password property":           {`{"task":{"properties":[{"name":"a","value":"s3cret","password":true}]}}`, []string{"s3cret"}},
		"the run-as user":               {`{"release":{"automatedTaskAsUser":{"username":"joe","password":"pw"}}}`, []string{"pw"}},
		"a number keeps its text":       {`{"task":{"properties":[{"value":12345678901234567890,"password":true}]}}`, []string{"12345678901234567890"}},
		"all items of a list":           {`{"task":{"properties":[{"value":["b","a",["c"]],"password":true}]}}`, []string{"a", "b", "c"}},
		"values of a map, not its keys": {`{"task":{"properties":[{"value":{"key":"v"},"password":true}]}}`, []string{"v"}},
		"in a nested item":              {`{"task":{"properties":[{"kind":"CI","value":{"id":"i","type":"t","properties":[{"name":"p","value":"deep","kind":"STRING","password":true},{"name":"u","value":"open","password":false}]},"password":false}]}}`, []string{"deep"}},
		"in an item of an item":         {`{"task":{"properties":[{"value":{"properties":[{"value":{"properties":[{"value":"deeper","password":true}]}}]}}]}}`, []string{"deeper"}},
		"in an item in a list":          {`{"task":{"properties":[{"value":[{"properties":[{"value":"x","password":true}]}]}]}}`, []string{"x"}},
		"a map with a key password":     {`{"task":{"properties":[{"value":{"password":"text","value":"open"}}]}}`, nil},
		"empty, null and booleans":      {`{"task":{"properties":[{"value":"","password":true},{"value":null,"password":true},{"value":true,"password":true}]}}`, nil},
		"a duplicate":                   {`{"task":{"properties":[{"value":"x","password":true},{"value":"x","password":true}]}}`, []string{"x"}},
		"with null fields":              {`{"release":null,"task":{"properties":[{"value":"x","category":null,"password":true}]}}`, []string{"x"}},
		"with unknown fields":           {`{"task":{"properties":[{"value":"x","password":true,"new":1}]},"new":{}}`, []string{"x"}},
	} {
		t.Run(what, func(t *testing.T) {
			in, err := contract.ParseInput([]byte(test.input))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, open(in.Secrets())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseInputRefusesInvalidInput(t *testing.T) {
	for what, input := range map[string]string{
		"nothing":               "",
		"null":                  "null",
		"a list":                "[]",
		"HTML":                  "<html>",
		"two inputs":            "{}{}",
		"nested without bounds": `{"task":{"properties":[{"value":` + strings.Repeat("[", 100_000),
	} {
		t.Run(what, func(t *testing.T) {
			if _, err := contract.ParseInput([]byte(input)); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestParseResultReadsBothSDKs(t *testing.T) {
	for what, test := range map[string]struct {
		text string
		code int
	}{
		"Go success without empty fields": {`{"exitCode":0}`, 0},
		"Go abort":                        {`{"exitCode":134,"jobErrorMessage":"Task was aborted"}`, 134},
		"Python with all four fields":     {`{"exitCode":1,"outputProperties":{},"jobErrorMessage":"no","reportingRecords":[]}`, 1},
	} {
		t.Run(what, func(t *testing.T) {
			r, err := contract.ParseResult([]byte(test.text))
			if err != nil || r.ExitCode != test.code {
				t.Errorf("exit code %d, %v", r.ExitCode, err)
			}
		})
	}
}

func FuzzSecretsOfAnyInput(f *testing.F) {
	f.Add([]byte(`{"task":{"properties":[{"value":{"properties":[{"value":["x",1],"password":true}]},"password":false}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := contract.ParseInput(data)
		if err != nil {
			return
		}
		for _, s := range in.Secrets() {
			if s == "" {
				t.Error("an empty secret would mask everything")
			}
		}
	})
}

func open(secrets []msg.Secret) []string {
	var s []string
	for _, secret := range secrets {
		s = append(s, string(secret))
	}
	return s
}
