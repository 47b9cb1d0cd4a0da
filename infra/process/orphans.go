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

// orphanMarker is the environment variable by which the next runner finds orphaned processes.
const orphanMarker = "RUNNERD_PROCESSES"

// killOrphans kills all processes of an earlier runner, which have the mark in their environment. It repeats until there are none,
// because they may start others meanwhile.
func killOrphans(mark string) error {
	for range 100 {
		found := false
		environs, err := filepath.Glob("/proc/[0-9]*/environ")
		if err != nil {
			return err
		}
		for _, environ := range environs {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(environ)))
			process, err := os.FindProcess(pid) // opened before its environment is read, because the pid could be reused
			if err != nil {
				continue
			}
			env, _ := os.ReadFile(environ) // fails if the process has exited or belongs to another user
			if slices.Contains(strings.Split(string(env), "\x00"), mark) {
				found = true
				_ = process.Kill() // the next round checks
			}
			_ = process.Release()
		}
		if !found {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("child processes of an earlier run could not be killed: kill those with %s in their environment", mark)
}
