package engine

import (
	"testing"

	"github.com/marketprism/marketprism/runtime/plan"
	"github.com/marketprism/marketprism/sdk/market"
)

// TestNews: an instrument record wakes who follows the feed's catalogue where it
// says something new, and nobody else.
func TestNews(t *testing.T) {
	e := new(Engine)
	f := &feed{e: e, p: &plan.Feed{Name: "binance-spot"}}
	w, other := &follower{nudged: make(chan struct{}, 1)}, &follower{nudged: make(chan struct{}, 1)}
	e.nudges("binance-spot").set(w, true)
	e.nudges("kraken-spot").set(other, true)
	woken := func() bool {
		select {
		case <-w.nudged:
			return true
		default:
			return false
		}
	}
	for i, c := range []struct {
		symbol string
		status market.Status
		want   bool
	}{
		{"BTCUSDT", market.StatusTrading, true}, {"BTCUSDT", market.StatusTrading, false}, {"ETHUSDT", market.StatusTrading, true},
		{"BTCUSDT", market.StatusHalted, true}, {"BTCUSDT", market.StatusHalted, false}, {"BTCUSDT", market.StatusTrading, true},
	} {
		f.listed(c.symbol, c.status)
		if got := woken(); got != c.want {
			t.Errorf("%d: %s %s wakes: %v", i, c.symbol, c.status, got)
		}
	}
	f.listed("BTCUSDT", market.StatusDelisted)
	f.listed("ETHUSDT", market.StatusDelisted) // it is awake already
	if !woken() || woken() || len(other.nudged) > 0 {
		t.Error("woken more than once, or the wrong one")
	}
	e.nudges("binance-spot").set(w, false)
	f.listed("BTCUSDT", market.StatusTrading)
	if woken() {
		t.Error("one that has ended is woken")
	}
}
