// Package seal implements the cryptography that runner, server and plugins share, and the runner's identity.
//
// For every job the server generates a Key, encrypts the input with it (Encrypt) and seals the key to the runner (SealKey). A plugin
// gets the key in the clear and encrypts its result with it. The SDKs define the format of inputs and results: AES-256-GCM with a nonce
// of 16 bytes, and base64 text of nonce‖ciphertext‖tag. Keys are sealed with HPKE over a hybrid of ML-KEM-768 and X25519, so that a
// future quantum computer cannot open what is recorded today.
//
// An Identity is created once and stored. It opens every job that was sealed to it; without it, these jobs cannot be opened.
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

// Key is the session key of one job. It prints and marshals as stars; Key[:] has the bytes.
type Key [32]byte

// Format prints stars for every verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "***") }

// MarshalText keeps the key out of JSON and structured logs.
func (Key) MarshalText() ([]byte, error) { return []byte("***"), nil }

// Errors of Decrypt.
var (
	ErrNotBase64 = errors.New("not base64 text")
	ErrTooShort  = errors.New("too short for a nonce and a tag")
	ErrWrongKey  = errors.New("encrypted with another key or damaged")
)

const (
	nonceSize = 16 // bytes, as the SDKs require; the usual size is 12
	tagSize   = 16
)

// NewKey generates a random key.
func NewKey() Key {
	var k Key
	_, _ = rand.Read(k[:]) // never returns an error: it crashes the program instead
	return k
}

// Encrypt returns base64 text of nonce‖ciphertext‖tag.
func Encrypt(k Key, plaintext []byte) string {
	body := make([]byte, nonceSize, nonceSize+len(plaintext)+tagSize)
	_, _ = rand.Read(body)
	return base64.StdEncoding.EncodeToString(k.gcm().Seal(body, body, plaintext, nil))
}

// Decrypt decrypts the output of Encrypt. It ignores surrounding white space.
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
		panic(err) // only if the key had another length
	}
	gcm, err := cipher.NewGCMWithNonceSize(block, nonceSize)
	if err != nil {
		panic(err) // only if the cipher were not AES
	}
	return gcm
}

// sealInfo binds a sealed key to its purpose: data sealed for another purpose does not open as a session key.
const sealInfo = "runnerd session key 1"

// SealKey seals a key to the runner with this public key. Only that runner's Identity opens it.
func SealKey(publicKey []byte, k Key) ([]byte, error) {
	public, err := hpke.MLKEM768X25519().NewPublicKey(publicKey)
	if err != nil {
		return nil, fmt.Errorf("parse the runner's public key: %w", err)
	}
	return hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(sealInfo), k[:])
}
