package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime/debug"
)

// version is that of a release, which is built with -ldflags "-X main.version=1.2.3"; empty in any other build.
var version string

// build is what the Go tool recorded about this binary.
type build struct {
	Version string // of a release; else the commit; else "devel"
	Go      string
}

func thisBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return build{Version: cmp.Or(version, "devel")}
	}
	b := build{Version: version, Go: info.GoVersion}
	if b.Version == "" && info.Main.Version != "(devel)" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Version = cmp.Or(b.Version, s.Value)
		}
	}
	b.Version = cmp.Or(b.Version, "devel")
	return b
}

type versionCommand struct{}

func (versionCommand) Run(out io.Writer) error {
	b := thisBuild()
	_, err := fmt.Fprintf(out, "runnerd %s (%s)\n", b.Version, b.Go)
	return err
}
