//go:build race

package spool_test

func init() { raceEnabled = true }
