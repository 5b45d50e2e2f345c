package host

import (
	"testing"
	"time"
)

func TestAllowance(t *testing.T) {
	b := Budget{Restarts: 4, Within: time.Minute, MinBackoff: time.Second, MaxBackoff: 3 * time.Second}
	b.fill()
	a := allowance{Budget: b}
	now := time.Unix(0, 0)
	for i, want := range []time.Duration{0, 1, 2, 3} {
		if d, ok := a.spend(now); !ok || d != want*time.Second {
			t.Errorf("restart %d: %v %v", i+1, d, ok)
		}
		now = now.Add(10 * time.Second)
	}
	if _, ok := a.spend(now); ok {
		t.Error("a fifth restart within a minute")
	}
	if d, ok := a.spend(now.Add(time.Hour)); !ok || d != 0 {
		t.Errorf("an hour later: %v %v", d, ok)
	}
}
