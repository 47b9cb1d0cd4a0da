package simulation

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

var (
	seeds  = flag.Int("seeds", 0, "number of seeds to run; 0: as many as CI runs")
	first  = flag.Uint64("from", 1, "first seed")
	seed   = flag.Uint64("seed", 0, "run only this seed, and print the end of its trace")
	lines  = flag.Int("lines", 300, "number of lines of the trace and of the log to print")
	worker = flag.Bool("worker", false, "print outcomes for the parent process")
	step   = flag.Uint64("step", 1, "run every nth seed")
	traced = flag.Bool("traced", false, "compute the hashes of the traces")
	once   = flag.Bool("once", false, "stop at the first seed with a violation")
	bugs   = flag.Int("bugs", 12, "number of deliberate bugs to look for; 0: all")
	day    = flag.Int("day", int(time.Now().Unix()/(24*60*60)), "day since 1970, which selects the deliberate bugs to look for")

	seedCount   = 300
	pairs       = 20 // seeds that are run twice
	raceEnabled bool // the race detector makes the simulation ten times slower
)

func TestEverySeedKeepsTheInvariants(t *testing.T) {
	switch {
	case *seed > 0:
		o := runSeed(t, *seed, *lines, true)
		t.Logf("%s\n%d steps, %v, hash %016x", o.Tail, o.Steps, o.Virtual, o.Hash)
		for _, v := range o.Violations {
			t.Errorf("violation of %s", v)
		}
		return
	case *worker:
		runWorker(t)
		return
	case *seeds > 0:
		seedCount = *seeds
	case raceEnabled || testing.Short():
		seedCount = 10
	}
	began := time.Now()
	all := outcome{Counts: map[string]int{}}
	failed := 0
	for o := range runSeeds(t, uint64(runtime.GOMAXPROCS(0)), seedCount, *first) {
		all.Steps, all.Virtual, all.Jobs = all.Steps+o.Steps, all.Virtual+o.Virtual, all.Jobs+o.Jobs
		addCounts(all.Counts, o.Counts)
		if len(o.Violations) == 0 {
			continue
		}
		if failed++; failed <= 3 {
			t.Errorf("seed %d: violation of %s\n%s\nto repeat: go tool task simulate -- -seed=%d", o.Seed, o.Violations[0], o.Tail, o.Seed)
		} else {
			t.Errorf("seed %d: violation of %s", o.Seed, o.Violations[0])
		}
	}
	took := time.Since(began)
	t.Logf("%d seeds, %d jobs, %d steps, %.0f virtual hours in %v: %.0f virtual hours per second\n%s", seedCount, all.Jobs, all.Steps,
		all.Virtual.Hours(), took.Round(time.Second), all.Virtual.Hours()/took.Seconds(), formatCounts(all.Counts))
}

// TestSeedIsDeterministic runs seeds in two processes with different numbers of processors.
func TestSeedIsDeterministic(t *testing.T) {
	if *seed > 0 {
		t.Skip("runs only without -seed")
	}
	if raceEnabled {
		t.Skip("runs without the race detector")
	}
	var hashes [2]map[uint64]uint64
	for n := range hashes {
		hashes[n] = map[uint64]uint64{}
		for o := range runProcess(t, os.Args[0], fmt.Sprint("GOMAXPROCS=", n+1), "-traced", fmt.Sprint("-seeds=", pairs), "-from=5001") {
			hashes[n][o.Seed] = o.Hash
		}
	}
	different := map[uint64]bool{}
	for seed, hash := range hashes[0] {
		different[hash] = true
		if again := hashes[1][seed]; hash != again {
			t.Errorf("seed %d: two runs differ, %016x and %016x", seed, hash, again)
		}
	}
	if len(different) != pairs {
		t.Errorf("%d seeds had %d different traces", pairs, len(different))
	}
}

// runWorker runs some of the seeds, and prints one outcome per line.
func runWorker(t *testing.T) {
	out := json.NewEncoder(os.Stdout)
	for n := range uint64(*seeds) {
		s := *first + n**step
		fmt.Fprintf(os.Stderr, "seed %d\n", s) // in case it panics
		o := runSeed(t, s, 0, *traced)
		if len(o.Violations) > 0 {
			o.Tail = runSeed(t, s, *lines, true).Tail
		}
		fmt.Print("\noutcome ")
		if err := out.Encode(o); err != nil {
			t.Fatal(err)
		}
		if *once && len(o.Violations) > 0 {
			return
		}
	}
}

// runSeeds distributes the seeds to several processes, because cryptography has one source of randomness per process.
func runSeeds(t *testing.T, processes uint64, seeds int, first uint64) <-chan outcome {
	all := make(chan outcome)
	done := make(chan struct{})
	for n := range processes {
		share := (seeds + int(processes-1-n)) / int(processes)
		go func() {
			defer func() { done <- struct{}{} }()
			for o := range runProcess(t, os.Args[0], "GOMAXPROCS=1", fmt.Sprint("-seeds=", share), fmt.Sprint("-from=", first+n), fmt.Sprint("-step=", processes)) {
				all <- o
			}
		}()
	}
	go func() {
		for range processes {
			<-done
		}
		close(all)
	}()
	return all
}

// runProcess runs program in another process as a worker, and returns its outcomes.
func runProcess(t *testing.T, program, env string, args ...string) <-chan outcome {
	all := make(chan outcome)
	command := exec.Command(program, append([]string{"-test.run=^TestEverySeedKeepsTheInvariants$", "-test.timeout=1h", "-worker", fmt.Sprint("-lines=", *lines)}, args...)...)
	command.Env = append(os.Environ(), env)
	var errors, rest bytes.Buffer
	command.Stderr = &errors
	stdout, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Error(err)
		close(all)
		return all
	}
	go func() {
		defer close(all)
		out := bufio.NewReader(stdout)
		for {
			line, err := out.ReadBytes('\n')
			if text, ok := bytes.CutPrefix(line, []byte("outcome ")); ok {
				var o outcome
				if err := json.Unmarshal(text, &o); err != nil {
					t.Error(err)
				}
				all <- o
			} else {
				rest.Write(line)
			}
			if err != nil {
				break
			}
		}
		if err := command.Wait(); err != nil {
			text := errors.String() + rest.String()
			t.Errorf("%v: %v\n%s", command.Args[1:], err, text[max(0, len(text)-8000):])
		}
	}()
	return all
}
