package wire

import (
	"context"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/wire/pb"
)

func TestAdmits(t *testing.T) {
	btc := &market.Instrument{ID: 1, Venue: "binance", Market: market.MarketSpot, Symbol: "BTCUSDT"}
	feed := &market.Instrument{Venue: "binance", Market: market.MarketSpot}
	trade, bbo, quality := []market.Kind{market.KindTrade}, []market.Kind{market.KindBBO}, []market.Kind{market.KindQuality}
	for _, c := range []struct {
		name string
		sel  []Select
		inst *market.Instrument
		want []market.Kind // among trade, bbo and quality
	}{
		{"nothing selects all", nil, btc, []market.Kind{market.KindTrade, market.KindBBO, market.KindQuality}},
		{"kinds", []Select{{Kinds: trade}}, btc, trade},
		{"union", []Select{{Kinds: trade}, {Kinds: bbo, Symbols: []string{"BTCUSDT"}}}, btc, append(trade[:1:1], bbo...)},
		{"another venue", []Select{{Venue: "kraken"}}, btc, nil},
		{"another market", []Select{{Market: market.MarketLinear}}, btc, nil},
		{"another symbol", []Select{{Symbols: []string{"ETHUSDT"}}}, btc, nil},
		{"the feed passes symbols", []Select{{Kinds: quality, Symbols: []string{"ETHUSDT"}}}, feed, quality},
		{"the feed of another venue", []Select{{Venue: "kraken"}}, feed, nil},
	} {
		got := Admits(c.sel, c.inst)
		var want uint64
		for _, k := range c.want {
			want |= 1 << k
		}
		if mask := uint64(1<<market.KindTrade | 1<<market.KindBBO | 1<<market.KindQuality); got&mask != want {
			t.Errorf("%s: %b, not %b", c.name, got&mask, want)
		}
	}
}

func TestOtherTransportsAreRefused(t *testing.T) {
	r, err := (&sourceService{}).Start(context.Background(), &pb.StartSource{Transport: "grpc"})
	if err != nil || r.Fault == nil || fault.Kind(r.Fault.Kind) != fault.Stop || !strings.Contains(r.Fault.Message, `transport "grpc" is not offered: this SDK has shm only`) {
		t.Errorf("%v, %v", r, err)
	}
	r, err = (&sinkService{}).Open(context.Background(), &pb.OpenSink{})
	if err != nil || r.Fault == nil {
		t.Errorf("%v, %v", r, err)
	}
}
