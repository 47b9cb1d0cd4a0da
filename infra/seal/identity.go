package seal

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Identity holds a runner's name and private keys. It is created at the first start, stored permanently and never shared.
type Identity struct {
	uuid   string
	hpke   hpke.PrivateKey
	caKey  *ecdsa.PrivateKey
	ca     *x509.Certificate
	secret []byte // key of Derive
	cache  keyCache
}

// Format prints the runner's UUID for every verb, and no secrets.
func (i *Identity) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "runner "+i.uuid) }

const secretSize = 32

// identityFile is the JSON form of an Identity.
type identityFile struct {
	UUID          string `json:"uuid"`
	HPKEKey       []byte `json:"hpkeKey"`       // ML-KEM-768 + X25519, the seed
	CAKey         []byte `json:"caKey"`         // PKCS #8
	CACertificate []byte `json:"caCertificate"` // DER
	Secret        []byte `json:"secret"`
}

// NewIdentity generates a new identity.
func NewIdentity() (*Identity, error) {
	private, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("make key pair: %w", err)
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	i := &Identity{uuid: newUUID(), hpke: private, caKey: caKey, secret: make([]byte, secretSize)}
	_, _ = rand.Read(i.secret)
	if i.ca, err = newCA(i.uuid, caKey); err != nil {
		return nil, fmt.Errorf("make CA certificate: %w", err)
	}
	return i, nil
}

// newUUID returns a random UUID (version 4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Marshal encodes the identity as JSON, with its secrets unencrypted.
func (i *Identity) Marshal() ([]byte, error) {
	private, err := i.hpke.Bytes()
	if err != nil {
		return nil, fmt.Errorf("marshal key pair: %w", err)
	}
	caKey, err := x509.MarshalPKCS8PrivateKey(i.caKey)
	if err != nil {
		return nil, fmt.Errorf("marshal CA key: %w", err)
	}
	return json.MarshalIndent(identityFile{i.uuid, private, caKey, i.ca.Raw, i.secret}, "", "  ")
}

// ParseIdentity parses the output of Marshal. It fails if any part is missing or damaged.
func ParseIdentity(data []byte) (*Identity, error) {
	var s identityFile
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	if s.UUID == "" {
		return nil, errors.New("read identity: it has no UUID")
	}
	if len(s.Secret) != secretSize {
		return nil, fmt.Errorf("read identity: its secret has %d bytes, not %d", len(s.Secret), secretSize)
	}
	i := &Identity{uuid: s.UUID, secret: s.Secret}
	var err error
	if i.hpke, err = hpke.MLKEM768X25519().NewPrivateKey(s.HPKEKey); err != nil {
		return nil, fmt.Errorf("read identity: key pair: %w", err)
	}
	if i.caKey, i.ca, err = parseCA(s.CAKey, s.CACertificate); err != nil {
		return nil, fmt.Errorf("read identity: CA: %w", err)
	}
	return i, nil
}

// UUID returns the name by which the server knows the runner.
func (i *Identity) UUID() string { return i.uuid }

// PublicKey returns the HPKE public key to which the server seals session keys.
func (i *Identity) PublicKey() []byte { return i.hpke.PublicKey().Bytes() }

// OpenKey opens a session key that SealKey sealed to this identity.
func (i *Identity) OpenKey(sealed []byte) (Key, error) {
	if key, ok := i.cache.find(sealed); ok {
		return key, nil
	}
	key, err := i.decapsulate(sealed)
	if err == nil {
		i.cache.add(sealed, key)
	}
	return key, err
}

func (i *Identity) decapsulate(sealed []byte) (Key, error) {
	raw, err := hpke.Open(i.hpke, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(sealInfo), sealed)
	if err != nil {
		return Key{}, errors.New("session key does not open: it was sealed to another runner or is damaged")
	}
	if len(raw) != len(Key{}) {
		return Key{}, fmt.Errorf("session key has %d bytes, not %d", len(raw), len(Key{}))
	}
	return Key(raw), nil
}

// Derive returns 32 bytes derived from the identity's secret: always the same for the same arguments, and unpredictable without the secret.
func (i *Identity) Derive(purpose string, parts ...string) []byte {
	mac := hmac.New(sha256.New, i.secret)
	for _, p := range append([]string{purpose}, parts...) {
		// The length makes ("ab", "c") and ("a", "bc") differ.
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		mac.Write([]byte(p))
	}
	return mac.Sum(nil)
}
