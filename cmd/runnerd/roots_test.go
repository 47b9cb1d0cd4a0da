package main

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"
)

func TestWhereAnImageHasNoCertificatesTheProgramHasItsOwn(t *testing.T) {
	t.Parallel()
	const alone = "RUNNERD_TEST_ALONE"
	if os.Getenv(alone) == "" { // roots are read once in a process's life
		child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		child.Env = append(os.Environ(), alone+"=1", "SSL_CERT_FILE=/nowhere", "SSL_CERT_DIR=/nowhere")
		if said, err := child.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		return
	}
	roots, err := x509.SystemCertPool()
	if err != nil || roots.Equal(x509.NewCertPool()) {
		t.Errorf("there are none: %v", err)
	}
}
