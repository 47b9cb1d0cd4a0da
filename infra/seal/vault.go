package seal

import (
	"encoding/json"
	"fmt"

	"runnerd/infra/contract"
	msg "runnerd/messages"
)

// Open checks that a job can be run: that its key opens, and that its input can be read with it. It returns all values in
// the input that must never be shown, and the key as Seal seals it.
func (i *Identity) Open(sealedKey []byte, input string) (secrets []msg.Secret, sealed []byte, err error) {
	key, err := i.OpenKey(sealedKey)
	if err != nil {
		return nil, nil, err
	}
	plaintext, err := Decrypt(key, []byte(input))
	if err != nil {
		return nil, nil, fmt.Errorf("the input does not decrypt with its session key: %w", err)
	}
	in, err := contract.ParseInput(plaintext)
	if err != nil {
		return nil, nil, err
	}
	sealed, err = i.Seal([]msg.Secret{msg.Secret(key[:])})
	return in.Secrets(), sealed, err
}

// Seal makes values unreadable to everybody but this identity. None are nothing.
func (i *Identity) Seal(secrets []msg.Secret) ([]byte, error) {
	if len(secrets) == 0 {
		return nil, nil
	}
	open := make([][]byte, len(secrets)) // a Secret marshals as stars, a string only as UTF-8
	for n, s := range secrets {
		open[n] = []byte(s)
	}
	plaintext, err := json.Marshal(open)
	if err != nil {
		return nil, fmt.Errorf("seal secrets: %w", err)
	}
	return []byte(Encrypt(i.vaultKey(), plaintext)), nil
}

// Unseal returns what was sealed.
func (i *Identity) Unseal(sealed []byte) ([]msg.Secret, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	plaintext, err := Decrypt(i.vaultKey(), sealed)
	if err != nil {
		return nil, fmt.Errorf("unseal secrets: %w", err)
	}
	var open [][]byte
	if err := json.Unmarshal(plaintext, &open); err != nil {
		return nil, fmt.Errorf("unseal secrets: %w", err)
	}
	secrets := make([]msg.Secret, len(open))
	for n, s := range open {
		secrets[n] = msg.Secret(s)
	}
	return secrets, nil
}

func (i *Identity) vaultKey() Key { return Key(i.Derive("vault")) }
