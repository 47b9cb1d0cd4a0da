package seal

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"time"
)

// validity returns the validity period of the runner's certificates. It is practically unlimited, because the clocks of executors and of
// the runner's host may be wrong. Trust ends with the executor: it gets the CA at its start and uses it for this runner only.
func validity() (from, to time.Time) {
	return time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
}

func newCA(uuid string, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	from, to := validity()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "runnerd CA " + uuid},
		NotBefore:             from,
		NotAfter:              to,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return sign(template, template, &key.PublicKey, key)
}

// sign issues a certificate. If the template has no serial number, it gets a random one.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func parseCA(key, certificate []byte) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("key has type %T, not ECDSA", parsed)
	}
	ca, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, nil, err
	}
	if !private.PublicKey.Equal(ca.PublicKey) {
		return nil, nil, errors.New("key and certificate do not match")
	}
	return private, ca, nil
}

// CA returns the CA certificate in PEM, with which an executor verifies the runner's TLS certificate.
func (i *Identity) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.ca.Raw})
}

// Certificate issues a server certificate for these addresses and names, signed by the CA.
func (i *Identity) Certificate(hosts []net.IP, names ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make server key: %w", err)
	}
	from, to := validity()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "runnerd " + i.uuid},
		NotBefore:             from,
		NotAfter:              to,
		IPAddresses:           hosts,
		DNSNames:              names,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leaf, err := sign(template, i.ca, &key.PublicKey, i.caKey)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("sign server certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}
