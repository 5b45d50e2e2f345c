//go:build !linux

package memory

import "time"

// Only Linux tells of mappings, descriptors and other processes in /proc;
// elsewhere a snapshot has the Go heap, goroutines, pools and what plugins say.

func readProcess(name string, pid int) Process { return Process{Name: name, Pid: pid} }

func mappings(uint64, []Journal) []Mapping { return nil }

func resident(*Snapshot) {}

func descriptors([]Journal) ([]Descriptors, uint64) { return nil, 0 }

func readMachine() Machine { return Machine{} }

func threadTime() time.Duration { return 0 }
