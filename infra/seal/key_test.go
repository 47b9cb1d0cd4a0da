package seal_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"runnerd/infra/seal"
)

func TestEncryptUsesPluginLayout(t *testing.T) {
	key := seal.NewKey()
	raw, err := base64.StdEncoding.DecodeString(seal.Encrypt(key, []byte("input")))
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCMWithNonceSize(block, 16)
	if err != nil {
		t.Fatal(err)
	}
	plaintext, err := gcm.Open(nil, raw[:16], raw[16:], nil)
	if err != nil || string(plaintext) != "input" {
		t.Errorf("%q, %v", plaintext, err)
	}
}

func TestDecryptOpensOnlyWhatTheKeyEncrypted(t *testing.T) {
	key := seal.NewKey()
	body := seal.Encrypt(key, []byte("result"))
	raw, err := base64.StdEncoding.DecodeString(body)
	if err != nil {
		t.Fatal(err)
	}
	raw[20] ^= 1
	damaged := base64.StdEncoding.EncodeToString(raw)
	for what, test := range map[string]struct {
		key  seal.Key
		body string
		want error
	}{
		"unchanged":               {key, body, nil},
		"with white space around": {key, " \n" + body + "\r\n", nil},
		"plain JSON":              {key, `{"exitCode":0}`, seal.ErrNotBase64},
		"empty":                   {key, "", seal.ErrTooShort},
		"a nonce and half a tag":  {key, base64.StdEncoding.EncodeToString(make([]byte, 24)), seal.ErrTooShort},
		"with another key":        {seal.NewKey(), body, seal.ErrWrongKey},
		"truncated":               {key, body[:len(body)-4], seal.ErrWrongKey},
		"damaged":                 {key, damaged, seal.ErrWrongKey},
	} {
		t.Run(what, func(t *testing.T) {
			plaintext, err := seal.Decrypt(test.key, []byte(test.body))
			if !errors.Is(err, test.want) {
				t.Fatalf("%v, want %v", err, test.want)
			}
			if err == nil && string(plaintext) != "result" {
				t.Errorf("%q", plaintext)
			}
		})
	}
}

func TestKeysPrintAsStars(t *testing.T) {
	key := seal.NewKey()
	text, err := json.Marshal(map[string]any{"key": key})
	if err != nil || string(text) != `{"key":"***"}` {
		t.Errorf("%s, %v", text, err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		if s := fmt.Sprintf(verb, key); s != "***" {
			t.Errorf("%s prints %s", verb, s)
		}
		if s := fmt.Sprintf(verb, &key); strings.Trim(s, "&*") != "" {
			t.Errorf("%s of a pointer prints %s", verb, s)
		}
	}
}

func FuzzDecrypt(f *testing.F) {
	key := seal.NewKey()
	f.Add([]byte(seal.Encrypt(key, nil)), []byte("plain"))
	f.Fuzz(func(t *testing.T, body, plaintext []byte) {
		if _, err := seal.Decrypt(seal.NewKey(), body); err == nil {
			t.Error("another key decrypts the body")
		}
		back, err := seal.Decrypt(key, []byte(seal.Encrypt(key, plaintext)))
		if err != nil || !bytes.Equal(back, plaintext) {
			t.Errorf("%q came back as %q, %v", plaintext, back, err)
		}
	})
}
