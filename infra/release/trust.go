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

// Roots are the system's certificate authorities and those of the operator: in PEM, and in a PKCS #12 trust store with its
// password. Either may be empty.
func Roots(pem, store []byte, password string) (*x509.CertPool, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // an image without any: only the operator's count
	}
	if len(pem) > 0 && !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("the CA file holds no certificate in PEM: convert it (openssl x509 -inform der), or give another")
	}
	if len(store) == 0 {
		return roots, nil
	}
	certificates, err := pkcs12.DecodeTrustStore(store, password)
	if err != nil {
		return nil, fmt.Errorf("open trust store: %w: it must be PKCS #12 (keytool -importkeystore converts others), and the password its own", err)
	}
	for _, certificate := range certificates {
		roots.AddCert(certificate)
	}
	return roots, nil
}

// explain says what to do about an error without an answer, where that is known.
func explain(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // its text repeats the request
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
		return "if the server's certificate comes from a CA of your own, give its certificate with the CA option"
	case errors.As(err, &host):
		return "give the server's URL with a name that is in its certificate"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the server's certificate, or set this machine's clock"
	case errors.Is(err, http.ErrSchemeMismatch):
		return "nothing there speaks TLS: is the port right, or should the URL begin with http://?"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "check the host in the server's URL, and this machine's name service"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: is the server up, and is the port right?"
	}
	return ""
}
