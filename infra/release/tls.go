package release

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"software.sslmate.com/src/go-pkcs12"
)

// Roots returns the system's CA certificates and the operator's, from PEM and from a PKCS #12 trust store with a password. Both may be
// empty.
func Roots(pem, store []byte, password string) (*x509.CertPool, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // the image has none
	}
	if len(pem) > 0 && !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("--rest-client-ca: the file has no PEM certificate: convert it (openssl x509 -inform der), or set another file")
	}
	if len(store) == 0 {
		return roots, nil
	}
	certificates, err := pkcs12.DecodeTrustStore(store, password)
	if err != nil {
		return nil, fmt.Errorf("--rest-client-truststore: %w: the file must be PKCS #12 (keytool -importkeystore converts others), and --rest-client-truststore-password its password", err)
	}
	for _, certificate := range certificates {
		roots.AddCert(certificate)
	}
	return roots, nil
}

// withHint adds what to do about an error without an answer, if known.
func withHint(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // without the URL, which the caller adds
	}
	if hint := hintFor(err); hint != "" {
		return fmt.Errorf("%w: %s", err, hint)
	}
	return err
}

func hintFor(err error) string {
	var (
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		dns     *net.DNSError
	)
	switch {
	case errors.As(err, &unknown):
		return "if the server's certificate is signed by your own CA, set --rest-client-ca to that CA's certificate"
	case errors.As(err, &host):
		return "set --release-url to a name that is in the server's certificate"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the server's certificate, or correct this machine's clock"
	case errors.Is(err, http.ErrSchemeMismatch):
		return "the port does not speak TLS: check the port in --release-url, or begin the URL with http://"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "check the host in --release-url, and this machine's DNS"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: start the server, or check the port in --release-url"
	}
	return ""
}
