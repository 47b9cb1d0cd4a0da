// Command program runs in the executors of the docker driver's tests. The variable DO selects what it does with ARG.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	do := map[string]func(string) error{
		"exits":           exits,
		"waits":           func(string) error { return waits(true) },
		"ignores-signals": func(string) error { return waits(false) },
		"floods":          floods,
		"longline":        longLine,
		"oom":             oom,
		"both-streams":    bothStreams,
		"long-log":        longLog,
		"write":           write,
		"read":            read,
		"dial":            dial,
		"listen":          listen,
		"self":            self,
	}[os.Getenv("DO")]
	if err := do(os.Getenv("ARG")); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func exits(string) error {
	fmt.Print("one\ntwo\n")
	fmt.Fprint(os.Stdout, "three\n")
	os.Exit(7)
	return nil
}

func waits(untilSignal bool) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGABRT, syscall.SIGTERM)
	fmt.Println("ready")
	for s := range signals {
		if untilSignal {
			os.Exit(128 + int(s.(syscall.Signal)))
		}
	}
	return nil
}

func floods(string) error {
	for i := range 2000 {
		fmt.Printf("line %d\n", i)
	}
	return nil
}

func longLine(string) error {
	fmt.Println(strings.Repeat("x", 40_000))
	return nil
}

func oom(string) error {
	for blocks := [][]byte{}; ; {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = 1
		}
		blocks = append(blocks, b)
	}
}

// bothStreams writes to stdout and stderr, so that their timestamps race.
func bothStreams(string) error {
	for i := range 300 {
		fmt.Fprintf(os.Stdout, "out %d\n", i)
		fmt.Fprintf(os.Stderr, "err %d\n", i)
	}
	return nil
}

// longLog writes numbered lines of 1 KB.
func longLog(lines string) error {
	n, err := strconv.Atoi(lines)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	for i := range n {
		fmt.Fprintf(out, "%0999d\n", i)
	}
	return out.Flush()
}

func write(path string) error { return os.WriteFile(path, []byte("written"), 0o600) }

func read(path string) error {
	text, err := os.ReadFile(path)
	fmt.Print(string(text))
	return err
}

func dial(address string) error {
	c, err := net.DialTimeout("tcp", address, 3*time.Second)
	if err == nil {
		fmt.Println("connected")
		err = c.Close()
	}
	return err
}

// listen prints its address.
func listen(port string) error {
	l, err := net.Listen("tcp4", ":"+port)
	if err != nil {
		return err
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if ip := a.(*net.IPNet).IP; !ip.IsLoopback() && ip.To4() != nil {
			fmt.Println(net.JoinHostPort(ip.String(), port))
		}
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		c.Close()
	}
}

// self prints the kernel's information about the process.
func self(string) error {
	fmt.Println("pid", os.Getpid(), "uid", os.Getuid())
	for _, file := range []string{"/proc/self/status", "/proc/self/limits", "/proc/self/mounts", "/proc/self/oom_score_adj"} {
		if err := read(file); err != nil {
			return err
		}
	}
	fmt.Println(os.Environ())
	return nil
}
