//go:build race

package spool_test

func init() { raced = true }
