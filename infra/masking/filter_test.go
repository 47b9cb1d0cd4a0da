package masking

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	msg "runnerd/messages"
)

func filtered(f *Filter, parts ...string) string { return filteredAt(time.Time{}, f, parts...) }

func filteredAt(at time.Time, f *Filter, parts ...string) string {
	var out []byte
	for _, p := range parts {
		out = append(out, f.Write([]byte(p), at)...)
	}
	return string(append(out, f.Flush()...))
}

func TestSecretsAreMasked(t *testing.T) {
	const pem = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nab\n-----END KEY-----\n"
	long := numbers(3000)
	quoted, _ := json.Marshal(`p"a<s>s\w`)
	for name, c := range map[string]struct {
		secrets []msg.Secret
		in      []string
		want    string
	}{
		"a value":                                 {[]msg.Secret{"hunter2"}, []string{"pw=hunter2;"}, "pw=********;"},
		"a value over three reads":                {[]msg.Secret{"hunter2"}, []string{"pw=hu", "nte", "r2;"}, "pw=********;"},
		"a prefix of a value only":                {[]msg.Secret{"hunter2"}, []string{"hunt", "hunter3"}, "hunthunter3"},
		"a value inside another":                  {[]msg.Secret{"hunter", "hunter2"}, []string{"hunter2 hunter1"}, "******** ********1"},
		"a prefix of another that does not match": {[]msg.Secret{"abc", "abcdefgh"}, []string{"abcdefgX"}, "********defgX"},
		"values inside one that does not match":   {[]msg.Secret{"bcd", "fgh", "abcdefghi"}, []string{"abcdefghX"}, "a********e********X"},
		"values that overlap":                     {[]msg.Secret{"abcdef", "defghi"}, []string{"xabcdefghix"}, "x********x"},
		"a value that overlaps itself":            {[]msg.Secret{"aba"}, []string{"xababababx"}, "x********bx"},
		"a value twice in a row":                  {[]msg.Secret{"abc"}, []string{"abcabc"}, "****************"},
		"two characters":                          {[]msg.Secret{"ab", "", " x "}, []string{"ab x "}, "ab x "},
		"a value with white space around it":      {[]msg.Secret{" pass \n"}, []string{"<pass>"}, "<********>"},
		"a value of many lines":                   {[]msg.Secret{pem}, []string{"k: ", pem}, "k: ********\n"},
		"many lines with another line ending":     {[]msg.Secret{pem}, []string{strings.ReplaceAll(pem, "\n", "\r\n")}, "********\r\n"},
		"lines behind prefixes, one too short":    {[]msg.Secret{pem}, []string{"> -----BEGIN KEY-----\n> MIIEvQIBADANBg\n> ab\n"}, "> ********\n> ********\n> ab\n"},
		"as JSON":                                 {[]msg.Secret{`p"a<s>s\w`}, []string{`{"v":` + string(quoted) + `}`}, `{"v":"********"}`},
		"as JSON without HTML escapes":            {[]msg.Secret{`p"a<s>`}, []string{`"p\"a<s>"`}, `"********"`},
		"as JSON in ASCII":                        {[]msg.Secret{"pässwörd😀"}, []string{`"p\u00e4ssw\u00f6rd\ud83d\ude00"`}, `"********"`},
		"in a query":                              {[]msg.Secret{"a b&c/d"}, []string{"?v=" + url.QueryEscape("a b&c/d")}, "?v=********"},
		"in a path":                               {[]msg.Secret{"a b&c/d"}, []string{"/" + url.PathEscape("a b&c/d") + "/"}, "/********/"},
		"in base64":                               {[]msg.Secret{"hunter2"}, []string{base64.StdEncoding.EncodeToString([]byte("hunter2"))}, "********"},
		"in the base64 of user and password":      {[]msg.Secret{"correct-horse"}, []string{base64.StdEncoding.EncodeToString([]byte("me:correct-horse!"))}, "bWU6********SE="},
		"bytes that are not text":                 {[]msg.Secret{"s\xff\x00e"}, []string{"\x00\xfes\xff", "\x00e\xff"}, "\x00\xfe********\xff"},
		"a value longer than a pattern is":        {[]msg.Secret{msg.Secret(long)}, []string{"<" + long + ">"}, "<********>"},
		"no secrets at all":                       {nil, []string{"as it ", "is"}, "as it is"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := filtered(NewFilter(c.secrets, false), c.in...); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func numbers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d,", i)
	}
	return b.String()
}

// The input and the secrets use few different letters, so that matches overlap.
func TestOutputIsIndependentOfSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secrets, input, at := drawSecrets(t), drawInput(t), drawTime(t)
		unsplit := filteredAt(at, NewFilter(secrets, false), input)
		f, got := NewFilter(secrets, false), []byte(nil)
		for rest := input; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "part")
			got = append(got, f.Write([]byte(rest[:n]), at)...)
			rest = rest[n:]
		}
		if got = append(got, f.Flush()...); string(got) != unsplit {
			t.Fatalf("in parts %q, at once %q", got, unsplit)
		}
		if f.Held() != 0 {
			t.Fatalf("%d bytes held after the flush", f.Held())
		}
		for _, s := range secrets {
			if len(s) >= minSecret && strings.Contains(unsplit, string(s)) {
				t.Fatalf("%q is in %q", string(s), unsplit)
			}
		}
	})
}

// After a crash the emitted text is stored, and a new filter continues from the held bytes.
func TestRestartFromHeldBytesLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secrets, input, at := drawSecrets(t), drawInput(t), drawTime(t)
		cut := rapid.IntRange(0, len(input)).Draw(t, "cut")
		f := NewFilter(secrets, false)
		before := string(f.Write([]byte(input[:cut]), at))
		held := f.Held()
		if held < 0 || held > cut {
			t.Fatalf("%d of %d bytes held", held, cut)
		}
		if want := filteredAt(at, NewFilter(secrets, false), input[:cut-held]); want != before {
			t.Fatalf("emitted %q, but the bytes that are not held give %q", before, want)
		}
		midline := before != "" && !strings.HasSuffix(before, "\n")
		after := filteredAt(at, NewFilter(secrets, midline), input[cut-held:])
		if unsplit := filteredAt(at, NewFilter(secrets, false), input); before+after != unsplit {
			t.Fatalf("%q + %q, without the crash %q", before, after, unsplit)
		}
	})
}

func drawTime(t *rapid.T) time.Time {
	return rapid.SampledFrom([]time.Time{{}, time.Unix(100, 0)}).Draw(t, "at")
}

func drawSecrets(t *rapid.T) []msg.Secret {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) msg.Secret {
		return msg.Secret(rapid.StringMatching(`[abc]{1,7}`).Draw(t, "value"))
	}), 0, 5).Draw(t, "secrets")
}

func drawInput(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(rapid.OneOf(
		rapid.StringMatching(`[abcX]{0,12}`),
		rapid.SampledFrom([]string{"\n", "#", "##[st", "##[start: comment]", "##[end: comment]", "##[start: status]",
			"##[end: status]", "\nW0102 10:11:12.345678       1 z.go:7] ", "\x00\xff"}),
	), 0, 25).Draw(t, "input"), "")
}

func TestMemoryIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		block string
		held  int
	}{
		"no newline, NUL and invalid UTF-8":   {"\x00\xff\xfe", 0},
		"a secret that overlaps itself":       {"aaaaaaaa", maxHeld + maxMask + maxPattern},
		"prefixes of a secret":                {"beginning-of-a-secre", maxPattern},
		"markers without an end":              {"##[start: comment]", maxMarker},
		"prefixes of markers":                 {"##[start: ", maxLinePrefix},
		"spaces without a newline":            {" ", maxLinePrefix},
		"secrets behind a marker without end": {"##[start: status]beginning-of-a-secret", 4 * maxMarker},
	} {
		t.Run(name, func(t *testing.T) {
			f := NewFilter([]msg.Secret{"aaaa", "beginning-of-a-secret"}, false)
			block := []byte(strings.Repeat(c.block, 8<<10/len(c.block)))
			for range 512 {
				f.Write(block, time.Time{})
				if memory := cap(f.mask.held) + cap(f.markers.buf); f.Held() > c.held || memory > 1<<20 {
					t.Fatalf("%d bytes held, at most %d expected; %d bytes of memory", f.Held(), c.held, memory)
				}
			}
		})
	}
}

func FuzzSplitsDoNotMatter(f *testing.F) {
	f.Add([]byte("x ##[start: comment]hunter2##[end: comment]\n"), "hunter2", 5)
	f.Fuzz(func(t *testing.T, in []byte, secret string, at int) {
		at = max(0, min(at, len(in)))
		secrets := []msg.Secret{msg.Secret(secret)}
		unsplit := filtered(NewFilter(secrets, false), string(in))
		if got := filtered(NewFilter(secrets, false), string(in[:at]), string(in[at:])); got != unsplit {
			t.Fatalf("split at %d: %q, unsplit %q", at, got, unsplit)
		}
	})
}

func BenchmarkTwentySecrets(b *testing.B) {
	var secrets []msg.Secret
	for i := range 20 {
		secrets = append(secrets, msg.Secret(strings.Repeat(string(rune('a'+i)), 3)+"-secret-value-of-some-length"))
	}
	for name, line := range map[string]string{
		"lines with a time":    "I1123 12:00:00.000000       1 deploy.go:12] copied artefact number 17 to the host, aaa-secret follows: ok\n",
		"lines without a time": "INFO                                 deploy.go:12] copied artefact number 17 to the host, aaa-secret follows: ok\n",
	} {
		b.Run(name, func(b *testing.B) {
			block := bytes.Repeat([]byte(line), 300)
			f := NewFilter(secrets, false)
			b.SetBytes(int64(len(block)))
			for b.Loop() {
				f.Write(block, time.Unix(100, 0))
			}
		})
	}
}

func TestSetSecretsMasksHeldBytes(t *testing.T) {
	const text, want = "a hunter2 b hunt\ner2 c swordfish\n", "a ******** b hunt\ner2 c ********\n"
	old, all := []msg.Secret{"hunter2"}, []msg.Secret{"hunter2", "swordfish"}
	for cut := range strings.Index(text, "swordfish") + 1 {
		f := NewFilter(old, false)
		got := string(f.Write([]byte(text[:cut]), time.Time{}))
		got += string(f.SetSecrets(all))
		if held := f.Held(); held > cut || held < 0 {
			t.Errorf("after %d bytes: %d held", cut, held)
		}
		got += string(f.Write([]byte(text[cut:]), time.Time{}))
		if got += string(f.Flush()); got != want || f.Held() != 0 {
			t.Errorf("after %d bytes: %q, want %q; %d held", cut, got, want, f.Held())
		}
	}
}
