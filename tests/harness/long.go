package harness

import "os"

// Long reports whether the tests may take long, as in the nightly run.
func Long() bool { return os.Getenv("RUNNERD_LONG") == "1" }

// Size returns few in the normal run and many in the nightly run.
func Size(few, many int) int {
	if Long() {
		return many
	}
	return few
}
