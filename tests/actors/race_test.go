//go:build race

package actors_test

func init() { raceEnabled = true }
