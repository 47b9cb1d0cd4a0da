package rig

import "os"

// Long reports whether the tests may take their time: in the nightly run.
func Long() bool { return os.Getenv("RUNNERD_LONG") == "1" }

// Size is how many of something a test takes: few in the check, many where it may take its time.
func Size(few, many int) int {
	if Long() {
		return many
	}
	return few
}
