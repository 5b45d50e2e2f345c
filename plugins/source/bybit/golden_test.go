package bybit

import (
	"fmt"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestGolden(t *testing.T) { oracle.Golden(t, New()) }

func FuzzDecode(f *testing.F) {
	oracle.Fuzz(f, New(), market.MarketLinear, market.MarketInverse, market.MarketOption, market.MarketMixed)
}

// TestAllocs: a frame costs no allocation once its symbols were seen.
func TestAllocs(t *testing.T) { oracle.Allocs(t, New(), market.MarketLinear, benchFrames) }

// TestConnections: tickers are merged for each connection by itself, and only
// the channels that are in use come out.
func TestConnections(t *testing.T) {
	frame := func(conn uint32, kind, members string) *source.Input {
		return &source.Input{Kind: source.InputText, Conn: conn, Recv: 1, Data: []byte(`{"topic":"tickers.BTCUSDT","type":"` + kind +
			`","data":{"symbol":"BTCUSDT",` + members + `},"cs":1,"ts":1673272861686}`)}
	}
	f := oracle.NewFeed(t, New(), market.MarketLinear)
	last := func(in *source.Input) (price, volume string) {
		items, err := f.Decode(t, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range items {
			if it.Record != nil && it.Record.Kind() == market.KindTicker {
				return oracle.Dec(t, it.Record, "last").String(), oracle.Dec(t, it.Record, "volume").String()
			}
		}
		return "", ""
	}
	for _, c := range []struct {
		in            *source.Input
		price, volume string
	}{
		{frame(1, "snapshot", `"lastPrice":"1","volume24h":"10"`), "1", "10"},
		{frame(2, "delta", `"markPrice":"5"`), "", ""}, // nothing is known of it
		{frame(2, "snapshot", `"lastPrice":"2","volume24h":"20"`), "2", "20"},
		{frame(1, "delta", `"lastPrice":"3"`), "3", "10"},
		{frame(2, "delta", `"volume24h":"21"`), "2", "21"},
		{&source.Input{Kind: source.InputClose, Conn: 1, Recv: 1}, "", ""},
		{frame(1, "delta", `"volume24h":"11"`), "", "11"},
		{frame(2, "delta", `"lastPrice":"4"`), "4", "21"},
	} {
		price, volume := last(c.in)
		if price != c.price || volume != c.volume {
			t.Errorf("%s: %q %q, want %q %q", c.in.Data, price, volume, c.price, c.volume)
		}
	}
}

// TestKeepAlive: a best bid and offer that is sent again under its number says so.
func TestKeepAlive(t *testing.T) {
	f := oracle.NewFeed(t, New(), market.MarketSpot)
	for i, want := range []struct {
		u     int
		again bool
	}{{400, false}, {400, true}, {401, false}, {401, true}, {1, false}} {
		in := source.Input{Kind: source.InputText, Conn: 1, Recv: 1, Data: fmt.Appendf(nil,
			`{"topic":"orderbook.1.BTCUSDT","ts":1672304484978,"type":"snapshot","data":{"s":"BTCUSDT","b":[["1","2"]],"a":[["3","4"]],"u":%d,"seq":7}}`, want.u)}
		items, err := f.Decode(t, &in)
		if err != nil {
			t.Fatal(err)
		}
		r := items[len(items)-1].Record
		if again := r.Flags()&market.FlagKeepAlive != 0; r.Kind() != market.KindBBO || again != want.again {
			t.Errorf("frame %d: %s, again %t", i, r.Kind(), again)
		}
	}
}
