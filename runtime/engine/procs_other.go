//go:build !linux

package engine

import "context"

// adaptProcs leaves all processors to the program on other systems.
func adaptProcs(context.Context) error { return nil }
