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
	shortest = 3    // characters: what has fewer is not masked
	longest  = 4096 // bytes of a pattern: what has more is masked in pieces that cover it
	// alone is how many base64 characters must be a value's own before they are masked inside a longer text: fewer occur
	// by chance.
	alone = 8
)

// patternsOf lists everything that must not be seen.
func patternsOf(secrets []msg.Secret) []string {
	var all []string
	for _, secret := range secrets {
		for _, text := range textsOf(string(secret)) {
			if utf8.RuneCountInString(text) < shortest {
				continue
			}
			for _, form := range formsOf(text) {
				all = append(all, pieces(form)...)
			}
		}
	}
	return all
}

// textsOf is the value and, if it has several, its lines. The value with the other line ending is one more.
func textsOf(value string) []string {
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

func formsOf(text string) []string {
	forms := []string{
		text,
		jsonHTML(text), jsonPlain(text), jsonASCII(text),
		url.PathEscape(text), url.QueryEscape(text),
		strings.ReplaceAll(url.QueryEscape(text), "+", "%20"), // everything escaped: what Python and JavaScript write
		base64.StdEncoding.EncodeToString([]byte(text)),
		base64.RawStdEncoding.EncodeToString([]byte(text)),
		base64.URLEncoding.EncodeToString([]byte(text)),
		base64.RawURLEncoding.EncodeToString([]byte(text)),
	}
	return append(forms, inBase64(text)...)
}

func jsonHTML(s string) string {
	text, _ := json.Marshal(s) // of a string: no error
	return unquote(string(text))
}

func jsonPlain(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // of a string, to memory: no error
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

// inBase64 is what a longer base64 text shows of a value at each of the three ways in which it can lie in it, without
// the characters that it shares with its neighbours.
func inBase64(text string) []string {
	var forms []string
	for before := range 3 {
		whole := append(make([]byte, before), text...)
		from, to := (8*before+5)/6, 8*len(whole)/6
		if to-from < alone {
			continue
		}
		forms = append(forms,
			base64.RawStdEncoding.EncodeToString(whole)[from:to],
			base64.RawURLEncoding.EncodeToString(whole)[from:to])
	}
	return forms
}

// pieces cuts a long form into patterns that cover it wherever it occurs, and overlap, so that one mask covers them.
func pieces(form string) []string {
	var cut []string
	for rest := form; len(rest) > longest; rest = rest[longest-1:] {
		cut = append(cut, rest[:longest])
	}
	return append(cut, form[max(0, len(form)-longest):])
}
