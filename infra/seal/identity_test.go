package seal_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"runnerd/infra/seal"
	msg "runnerd/messages"
)

func newIdentity(t *testing.T) *seal.Identity {
	t.Helper()
	i, err := seal.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// reload returns the identity as the next start reads it.
func reload(t *testing.T, i *seal.Identity) *seal.Identity {
	t.Helper()
	data, err := i.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if i, err = seal.ParseIdentity(data); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestIdentitySurvivesRestart(t *testing.T) {
	before := newIdentity(t)
	after := reload(t, before)
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(before.UUID()) {
		t.Errorf("%s is no UUID", before.UUID())
	}
	if before.UUID() != after.UUID() || !bytes.Equal(before.PublicKey(), after.PublicKey()) || !bytes.Equal(before.CA(), after.CA()) ||
		!bytes.Equal(before.Derive("token", "x"), after.Derive("token", "x")) {
		t.Error("identity has changed")
	}
	key := seal.NewKey()
	sealed, err := seal.SealKey(before.PublicKey(), key)
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := after.OpenKey(sealed); err != nil || opened != key {
		t.Errorf("the key of a job from before does not open: %v", err)
	}
}

func TestKeyOpensForItsRunnerOnly(t *testing.T) {
	i := newIdentity(t)
	sealed, err := seal.SealKey(i.PublicKey(), seal.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newIdentity(t).OpenKey(sealed); err == nil {
		t.Error("another runner opens the key")
	}
	for _, damaged := range [][]byte{nil, []byte("short"), sealed[:len(sealed)-1], append([]byte{sealed[0] ^ 1}, sealed[1:]...)} {
		if _, err := i.OpenKey(damaged); err == nil {
			t.Errorf("%d damaged bytes open", len(damaged))
		}
	}
	if _, err := seal.SealKey([]byte("no key"), seal.NewKey()); err == nil {
		t.Error("sealed to an invalid public key")
	}
}

func TestDerivedValuesDifferByPurposePartsAndRunner(t *testing.T) {
	i := newIdentity(t)
	seen := map[string]string{}
	for what, value := range map[string][]byte{
		"a purpose": i.Derive("token"), "another": i.Derive("dummy"), "with parts": i.Derive("token", "ab", "c"),
		"parts cut elsewhere": i.Derive("token", "a", "bc"), "an empty part": i.Derive("token", ""), "another runner": newIdentity(t).Derive("token"),
	} {
		if len(value) != 32 {
			t.Errorf("%s: %d bytes", what, len(value))
		}
		if other, ok := seen[string(value)]; ok {
			t.Errorf("%s and %s are the same", what, other)
		}
		seen[string(value)] = what
	}
}

func TestDamagedIdentityIsRefused(t *testing.T) {
	data, err := newIdentity(t).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	other, err := newIdentity(t).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var good, foreign map[string]any
	for data, into := range map[*[]byte]*map[string]any{&data: &good, &other: &foreign} {
		if err := json.Unmarshal(*data, into); err != nil {
			t.Fatal(err)
		}
	}
	for field := range good {
		without := map[string]any{}
		for k, v := range good {
			if k != field {
				without[k] = v
			}
		}
		text, _ := json.Marshal(without)
		if _, err := seal.ParseIdentity(text); err == nil {
			t.Errorf("accepted without %s", field)
		}
	}
	good["caKey"] = foreign["caKey"]
	text, _ := json.Marshal(good)
	if _, err := seal.ParseIdentity(text); err == nil {
		t.Error("accepted with another identity's CA key")
	}
	if _, err := seal.ParseIdentity(data[:len(data)/2]); err == nil {
		t.Error("accepted when truncated")
	}
}

func TestIdentityPrintsNoSecrets(t *testing.T) {
	i := newIdentity(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%x"} {
		if s := fmt.Sprintf(verb, i); s != "runner "+i.UUID() {
			t.Errorf("%s prints %s", verb, s)
		}
	}
}

func TestCertificateVerifiesWithCA(t *testing.T) {
	i := newIdentity(t)
	certificate, err := reload(t, i).Certificate([]net.IP{net.IPv4(127, 0, 0, 1)}, "runner.test")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	defer server.Close()
	for what, test := range map[string]struct {
		ca   []byte
		name string
		now  time.Time
		ok   bool
	}{
		"by address":            {ca: i.CA(), ok: true},
		"by name":               {ca: i.CA(), name: "runner.test", ok: true},
		"with a clock far back": {ca: i.CA(), now: time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC), ok: true},
		"in a hundred years":    {ca: i.CA(), now: time.Now().AddDate(100, 0, 0), ok: true},
		"by another name":       {ca: i.CA(), name: "else.test"},
		"by another runner's":   {ca: newIdentity(t).CA()},
	} {
		t.Run(what, func(t *testing.T) {
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(test.ca)
			config := &tls.Config{RootCAs: roots, ServerName: test.name, Time: func() time.Time { return test.now }}
			if test.now.IsZero() {
				config.Time = nil
			}
			conn, err := tls.Dial("tcp", server.Listener.Addr().String(), config)
			if err == nil {
				conn.Close()
			}
			if (err == nil) != test.ok {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestOpenExplainsWhyJobIsInvalid(t *testing.T) {
	i := newIdentity(t)
	key := seal.NewKey()
	sealed, err := seal.SealKey(i.PublicKey(), key)
	if err != nil {
		t.Fatal(err)
	}
	input := `{"task":{"type":"a.B","properties":[{"name":"p","value":"s3cret","password":true}]}}`
	for what, test := range map[string]struct {
		key     []byte
		input   string
		wantErr string
	}{
		"valid":                 {sealed, seal.Encrypt(key, []byte(input)), ""},
		"another runner's key":  {[]byte("x"), seal.Encrypt(key, []byte(input)), "session key does not open"},
		"input of another key":  {sealed, seal.Encrypt(seal.NewKey(), []byte(input)), "input does not decrypt"},
		"invalid input context": {sealed, seal.Encrypt(key, []byte("[]")), "parse input context"},
	} {
		t.Run(what, func(t *testing.T) {
			secrets, sealedKey, err := i.Open(test.key, test.input)
			if test.wantErr == "" {
				if diff := cmp.Diff([]msg.Secret{"s3cret"}, secrets); err != nil || diff != "" {
					t.Error(err, diff)
				}
				if keys, err := i.Unseal(sealedKey); err != nil || len(keys) != 1 || keys[0] != msg.Secret(key[:]) {
					t.Errorf("the sealed key is not the job's: %v", err)
				}
			} else if err == nil || !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("got %v, want %q", err, test.wantErr)
			}
		})
	}
}

func TestSealedValuesOpenForTheirRunnerOnly(t *testing.T) {
	i := newIdentity(t)
	for _, secrets := range [][]msg.Secret{nil, {"one", "two\x00\xff", "öäü"}} {
		sealed, err := i.Seal(secrets)
		if err != nil {
			t.Fatal(err)
		}
		back, err := reload(t, i).Unseal(sealed)
		if diff := cmp.Diff(secrets, back); err != nil || diff != "" {
			t.Error(err, diff)
		}
		if _, err := newIdentity(t).Unseal(sealed); err == nil && secrets != nil {
			t.Error("another runner unseals them")
		}
	}
}

func FuzzParseIdentity(f *testing.F) {
	i, err := seal.NewIdentity()
	if err != nil {
		f.Fatal(err)
	}
	data, err := i.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if i, err := seal.ParseIdentity(data); err == nil && i.UUID() == "" {
			t.Error("an identity without a UUID")
		}
	})
}
