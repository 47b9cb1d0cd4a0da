// Package seal is the cryptography that a runner and a server share, and the secrets that make a runner itself.
//
// For every job the server draws a Key, encrypts the input with it (Encrypt) and seals it to the runner (SealKey). A plugin
// gets the open key, and encrypts its result with it. The layout of what is encrypted is the plugins': AES-256-GCM, a nonce of
// 16 bytes, base64 text of nonce‖ciphertext‖tag. The sealing is HPKE with a hybrid of ML-KEM-768 and X25519: what is
// recorded today stays closed to a quantum computer of tomorrow.
//
// An Identity is made once and kept. Whoever has it can open every job that was sealed to it; whoever loses it can open
// none.
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hpke"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
)

// Key is the session key of one job. It prints and marshals as stars; Key[:] is the key itself.
type Key [32]byte

// Format prints stars whatever the verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "***") }

// MarshalText keeps the key out of JSON and of structured logs.
func (Key) MarshalText() ([]byte, error) { return []byte("***"), nil }

// Why a body cannot be decrypted.
var (
	ErrNotBase64 = errors.New("not base64 text")
	ErrTooShort  = errors.New("too short for a nonce and a tag")
	ErrWrongKey  = errors.New("encrypted with another key, or damaged")
)

const (
	nonceSize = 16 // the plugins' choice; the usual 12 are not understood by them
	tagSize   = 16
)

// NewKey draws a key.
func NewKey() Key {
	var k Key
	_, _ = rand.Read(k[:]) // never an error: the program ends where there is no randomness
	return k
}

// Encrypt returns base64 text of nonce‖ciphertext‖tag.
func Encrypt(k Key, plaintext []byte) string {
	body := make([]byte, nonceSize, nonceSize+len(plaintext)+tagSize)
	_, _ = rand.Read(body)
	return base64.StdEncoding.EncodeToString(k.gcm().Seal(body, body, plaintext, nil))
}

// Decrypt opens what Encrypt made; white space around it does not matter.
func Decrypt(k Key, body []byte) ([]byte, error) {
	body = bytes.TrimSpace(body)
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(body)))
	n, err := base64.StdEncoding.Decode(raw, body)
	if err != nil {
		return nil, ErrNotBase64
	}
	if n < nonceSize+tagSize {
		return nil, ErrTooShort
	}
	nonce, sealed := raw[:nonceSize], raw[nonceSize:n]
	plaintext, err := k.gcm().Open(sealed[:0], nonce, sealed, nil)
	if err != nil {
		return nil, ErrWrongKey
	}
	return plaintext, nil
}

func (k Key) gcm() cipher.AEAD {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		panic(err) // only for a key of another length
	}
	gcm, err := cipher.NewGCMWithNonceSize(block, nonceSize)
	if err != nil {
		panic(err) // only for another cipher than AES
	}
	return gcm
}

// sealInfo binds a sealed key to its use: what was sealed for anything else does not open as one.
const sealInfo = "runnerd session key 1"

// SealKey seals a key to the runner whose public key is given. Only its Identity opens it.
func SealKey(publicKey []byte, k Key) ([]byte, error) {
	public, err := hpke.MLKEM768X25519().NewPublicKey(publicKey)
	if err != nil {
		return nil, fmt.Errorf("read public key of runner: %w", err)
	}
	return hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(sealInfo), k[:])
}
