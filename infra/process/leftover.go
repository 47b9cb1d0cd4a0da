package process

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// markName is the variable by which the next runner finds what a child has started and left.
const markName = "RUNNERD_PROCESSES"

// killLeft kills what an earlier runner has left: all processes with its mark. It looks again until there are none, because they
// may start others meanwhile.
func killLeft(mark string) error {
	for range 100 {
		left := false
		environs, err := filepath.Glob("/proc/[0-9]*/environ")
		if err != nil {
			return err
		}
		for _, environ := range environs {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(environ)))
			process, err := os.FindProcess(pid) // before its environment is read, so that another one that gets its pid is left alone
			if err != nil {
				continue
			}
			env, _ := os.ReadFile(environ) // if it cannot be read, the process has ended or is somebody else's
			if slices.Contains(strings.Split(string(env), "\x00"), mark) {
				left = true
				_ = process.Kill() // the next look tells
			}
			_ = process.Release()
		}
		if !left {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("child processes of an earlier run do not end: end by hand those with %s in their environment", mark)
}
