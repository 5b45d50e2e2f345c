//go:build !linux

package emulator

import "time"

func sharpTimers() {}

func sleepUntil(t time.Time) { time.Sleep(time.Until(t)) }
