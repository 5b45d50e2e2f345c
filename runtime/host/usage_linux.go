package host

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// tick is the unit of CPU time in /proc: 1/100 s on every architecture of Go's.
const tick = 10 * time.Millisecond

// usageOf reads what the kernel says of a process; zero if it is gone.
func usageOf(pid int) (u usage) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	if b, err := os.ReadFile(dir + "stat"); err == nil {
		// The second field is the program's name in brackets, which may hold
		// anything; utime and stime are the 14th and 15th.
		f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		if len(f) > 12 {
			u.cpu = time.Duration(number(f[11])+number(f[12])) * tick
		}
	}
	if b, err := os.ReadFile(dir + "statm"); err == nil {
		if f := bytes.Fields(b); len(f) > 2 {
			page := int64(os.Getpagesize())
			u.resident = number(f[1]) * page
			u.private = max(0, number(f[1])-number(f[2])) * page
		}
	}
	return u
}

func number(b []byte) int64 {
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
