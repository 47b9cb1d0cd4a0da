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
	seeds  = flag.Int("seeds", 0, "how many seeds to run; 0: as many as CI runs")
	first  = flag.Uint64("from", 1, "the first of them")
	seed   = flag.Uint64("seed", 0, "run this one alone, and print the end of its trace")
	lines  = flag.Int("lines", 300, "how much of it to print")
	worker = flag.Bool("worker", false, "print outcomes for the process that has started this one")
	step   = flag.Uint64("step", 1, "every so manieth seed only")
	traced = flag.Bool("traced", false, "make the hashes of the traces")
	once   = flag.Bool("once", false, "stop at the first breach")
	bugs   = flag.Int("bugs", 12, "how many of the deliberate bugs to look for; 0: all")
	day    = flag.Int("day", int(time.Now().Unix()/(24*60*60)), "decides which")

	asMany = 300
	pairs  = 20
	raced  bool // the race detector is on: it costs ten times as much
)

func TestEverySeedKeepsTheInvariants(t *testing.T) {
	switch {
	case *seed > 0:
		o := history(t, *seed, *lines, true)
		t.Logf("%s\n%d steps, %v, hash %016x", o.Last, o.Steps, o.Virtual, o.Hash)
		for _, b := range o.Breaches {
			t.Errorf("breach of %s", b)
		}
		return
	case *worker:
		work(t)
		return
	case *seeds > 0:
		asMany = *seeds
	case raced || testing.Short():
		asMany = 10
	}
	began := time.Now()
	all := outcome{Hits: map[string]int{}}
	failed := 0
	for o := range crew(t, uint64(runtime.GOMAXPROCS(0)), asMany, *first) {
		all.Steps, all.Virtual, all.Jobs = all.Steps+o.Steps, all.Virtual+o.Virtual, all.Jobs+o.Jobs
		sumHits(all.Hits, o.Hits)
		if len(o.Breaches) == 0 {
			continue
		}
		if failed++; failed <= 3 {
			t.Errorf("seed %d: breach of %s\n%s\nagain: go tool task simulate -- -seed=%d", o.Seed, o.Breaches[0], o.Last, o.Seed)
		} else {
			t.Errorf("seed %d: breach of %s", o.Seed, o.Breaches[0])
		}
	}
	took := time.Since(began)
	t.Logf("%d seeds, %d jobs, %d steps, %.0f virtual hours in %v: %.0f an hour of virtual time a second\n%s", asMany, all.Jobs, all.Steps,
		all.Virtual.Hours(), took.Round(time.Second), all.Virtual.Hours()/took.Seconds(), showHits(all.Hits))
}

// TestOneSeedIsOneHistory runs seeds in two processes with different numbers of processors.
func TestOneSeedIsOneHistory(t *testing.T) {
	if *seed > 0 {
		t.Skip("one seed is wanted alone")
	}
	if raced {
		t.Skip("the same without the race detector")
	}
	var hashes [2]map[uint64]uint64
	for n := range hashes {
		hashes[n] = map[uint64]uint64{}
		for o := range run(t, os.Args[0], fmt.Sprint("GOMAXPROCS=", n+1), "-traced", fmt.Sprint("-seeds=", pairs), "-from=5001") {
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
		t.Errorf("%d seeds made %d histories", pairs, len(different))
	}
}

// work runs a share of the seeds, and prints an outcome a line.
func work(t *testing.T) {
	out := json.NewEncoder(os.Stdout)
	for n := range uint64(*seeds) {
		s := *first + n**step
		fmt.Fprintf(os.Stderr, "seed %d\n", s) // should it panic
		o := history(t, s, 0, *traced)
		if len(o.Breaches) > 0 {
			o.Last = history(t, s, *lines, true).Last
		}
		fmt.Print("\noutcome ")
		if err := out.Encode(o); err != nil {
			t.Fatal(err)
		}
		if *once && len(o.Breaches) > 0 {
			return
		}
	}
}

// crew shares the seeds out among processes: cryptography has one source of chance in a process.
func crew(t *testing.T, processes uint64, seeds int, first uint64) <-chan outcome {
	all := make(chan outcome)
	done := make(chan struct{})
	for n := range processes {
		share := (seeds + int(processes-1-n)) / int(processes)
		go func() {
			defer func() { done <- struct{}{} }()
			for o := range run(t, os.Args[0], "GOMAXPROCS=1", fmt.Sprint("-seeds=", share), fmt.Sprint("-from=", first+n), fmt.Sprint("-step=", processes)) {
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

// run is a process of the program that works.
func run(t *testing.T, program, env string, args ...string) <-chan outcome {
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
