//go:build race

package actors

func init() { raceEnabled = true }
