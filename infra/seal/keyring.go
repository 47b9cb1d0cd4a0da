package seal

import (
	"encoding/json"
	"fmt"

	"runnerd/infra/contract"
	msg "runnerd/messages"
)

// Open checks that a job can run: its key opens, and its input decrypts and parses. It returns all values in the input that must be
// masked, and the key sealed again with Seal.
func (i *Identity) Open(sealedKey []byte, input string) (secrets []msg.Secret, sealed []byte, err error) {
	key, err := i.OpenKey(sealedKey)
	if err != nil {
		return nil, nil, err
	}
	plaintext, err := Decrypt(key, []byte(input))
	if err != nil {
		return nil, nil, fmt.Errorf("input does not decrypt with its session key: %w", err)
	}
	in, err := contract.ParseInput(plaintext)
	if err != nil {
		return nil, nil, err
	}
	sealed, err = i.Seal([]msg.Secret{msg.Secret(key[:])})
	return in.Secrets(), sealed, err
}

// Seal encrypts values so that only this identity can read them. Without values it returns nil.
func (i *Identity) Seal(secrets []msg.Secret) ([]byte, error) {
	if len(secrets) == 0 {
		return nil, nil
	}
	values := make([][]byte, len(secrets)) // a Secret would marshal as stars, and a string would lose bytes that are not UTF-8
	for n, s := range secrets {
		values[n] = []byte(s)
	}
	plaintext, err := json.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("seal secrets: %w", err)
	}
	return []byte(Encrypt(i.keyringKey(), plaintext)), nil
}

// Unseal decrypts the values that Seal encrypted.
func (i *Identity) Unseal(sealed []byte) ([]msg.Secret, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	plaintext, err := Decrypt(i.keyringKey(), sealed)
	if err != nil {
		return nil, fmt.Errorf("unseal secrets: %w", err)
	}
	var values [][]byte
	if err := json.Unmarshal(plaintext, &values); err != nil {
		return nil, fmt.Errorf("unseal secrets: %w", err)
	}
	secrets := make([]msg.Secret, len(values))
	for n, s := range values {
		secrets[n] = msg.Secret(s)
	}
	return secrets, nil
}

// keyringKey returns the key with which Seal encrypts.
func (i *Identity) keyringKey() Key { return Key(i.Derive("keyring")) }
