package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"software.sslmate.com/src/go-pkcs12"
)

// tlsConfig is how the server is trusted: the system's certificates, and those of the PEM file and the trust store.
func (r *ReleaseConfig) tlsConfig() (*tls.Config, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's certificates: %w", err)
	}
	if err := addPEM(roots, r.CA); err != nil {
		return nil, err
	}
	if err := addTruststore(roots, r.Truststore, string(r.TruststorePassword)); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, nil
}

func addPEM(roots *x509.CertPool, file string) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the certificates to trust: %w", err)
	}
	if !roots.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s holds no certificate: rest-client-ca must be a PEM file, with BEGIN CERTIFICATE in it", file)
	}
	return nil
}

func addTruststore(roots *x509.CertPool, file, password string) error {
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the trust store: %w", err)
	}
	certs, err := pkcs12.DecodeTrustStore(data, password)
	if err != nil {
		return fmt.Errorf("open the trust store %s (PKCS#12; is rest-client-truststore-password right?): %w", file, err)
	}
	for _, cert := range certs {
		roots.AddCert(cert)
	}
	return nil
}
