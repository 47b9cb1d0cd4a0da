package masking

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	msg "runnerd/messages"
)

const (
	minSecret  = 3    // characters; shorter values are not masked
	maxPattern = 4096 // bytes; longer values are split into overlapping patterns
	// minFragment is how many base64 characters must depend on the value alone to be masked inside a longer base64 text: shorter
	// fragments occur by chance.
	minFragment = 8
)

// patternsOf returns all byte sequences that must be masked.
func patternsOf(secrets []msg.Secret) []string {
	var all []string
	for _, secret := range secrets {
		for _, text := range variants(string(secret)) {
			if utf8.RuneCountInString(text) < minSecret {
				continue
			}
			for _, form := range encodings(text) {
				all = append(all, split(form)...)
			}
		}
	}
	return all
}

// variants returns the value and, if it has several lines, each line and the value with either line ending.
func variants(value string) []string {
	value = strings.TrimSpace(value)
	if !strings.ContainsAny(value, "\r\n") {
		return []string{value}
	}
	unix := strings.ReplaceAll(value, "\r\n", "\n")
	texts := []string{value, unix, strings.ReplaceAll(unix, "\n", "\r\n")}
	for line := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == '\n' || r == '\r' }) {
		texts = append(texts, strings.TrimSpace(line))
	}
	return texts
}

func encodings(text string) []string {
	forms := []string{
		text,
		jsonHTML(text), jsonPlain(text), jsonASCII(text),
		url.PathEscape(text), url.QueryEscape(text),
		strings.ReplaceAll(url.QueryEscape(text), "+", "%20"), // as Python and JavaScript write it
		base64.StdEncoding.EncodeToString([]byte(text)),
		base64.RawStdEncoding.EncodeToString([]byte(text)),
		base64.URLEncoding.EncodeToString([]byte(text)),
		base64.RawURLEncoding.EncodeToString([]byte(text)),
	}
	return append(forms, base64Fragments(text)...)
}

func jsonHTML(s string) string {
	text, _ := json.Marshal(s) // never fails for a string
	return unquote(string(text))
}

func jsonPlain(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // never fails for a string in memory
	return unquote(strings.TrimSuffix(b.String(), "\n"))
}

func unquote(s string) string { return s[1 : len(s)-1] }

func jsonASCII(s string) string {
	var b strings.Builder
	for _, r := range jsonPlain(s) {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

// base64Fragments returns the base64 characters by which a longer base64 text shows the value, for each of the three alignments. It leaves
// out characters that also depend on neighboring bytes.
func base64Fragments(text string) []string {
	var forms []string
	for before := range 3 {
		padded := append(make([]byte, before), text...)
		from, to := (8*before+5)/6, 8*len(padded)/6
		if to-from < minFragment {
			continue
		}
		forms = append(forms,
			base64.RawStdEncoding.EncodeToString(padded)[from:to],
			base64.RawURLEncoding.EncodeToString(padded)[from:to])
	}
	return forms
}

// split cuts a long form into patterns that cover it and overlap, so that one mask covers all of them.
func split(form string) []string {
	var cut []string
	for rest := form; len(rest) > maxPattern; rest = rest[maxPattern-1:] {
		cut = append(cut, rest[:maxPattern])
	}
	return append(cut, form[max(0, len(form)-maxPattern):])
}
