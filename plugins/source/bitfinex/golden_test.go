package bitfinex

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
	"github.com/marketprism/marketprism/sdk/source"
)

func TestGolden(t *testing.T) { oracle.Golden(t, New()) }

// FuzzDecode feeds mutations to a decoder that knows no channel, FuzzFrames to one
// that knows several.
func FuzzDecode(f *testing.F) { oracle.Fuzz(f, New(), market.MarketSpot, market.MarketMixed) }

func FuzzFrames(f *testing.F) {
	for _, one := range benchFrames {
		f.Add([]byte(one.Text))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		feed := oracle.NewFeed(t, New(), market.MarketMixed)
		for _, text := range announced {
			if _, err := feed.Decode(t, &source.Input{Kind: source.InputText, Recv: 1, Data: []byte(text)}); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // the second finds the room the first left
			_, _ = feed.Decode(t, &source.Input{Kind: source.InputText, Recv: 1, Data: frame})
		}
	})
}

// TestAllocs: a frame costs no allocation once its symbols were seen.
func TestAllocs(t *testing.T) {
	oracle.Allocs(t, New(), market.MarketMixed, benchFrames, announced...)
}

// TestConnections: a channel id says something on its connection alone, until that
// is closed.
func TestConnections(t *testing.T) {
	feed := oracle.NewFeed(t, New(), market.MarketSpot)
	decode := func(conn uint32, kind source.InputKind, text string) (string, error) {
		items, err := feed.Decode(t, &source.Input{Kind: kind, Conn: conn, Recv: 1, Data: []byte(text)})
		for _, i := range items {
			if i.Record != nil {
				return i.Instrument.Symbol, err
			}
		}
		return "", err
	}
	const trade = `[65,"te",[637771130,1615232733897,0.11546588,51350],1]`
	for conn, symbol := range []string{"tBTCUSD", "tETHUSD"} {
		if _, err := decode(uint32(conn), source.InputText, `{"event":"subscribed","channel":"trades","chanId":65,"symbol":"`+symbol+`"}`); err != nil {
			t.Fatal(err)
		}
	}
	for conn, symbol := range []string{"tBTCUSD", "tETHUSD", "tBTCUSD"} {
		if got, err := decode(uint32(conn%2), source.InputText, trade); got != symbol || err != nil {
			t.Errorf("a trade of %q, want %s: %v", got, symbol, err)
		}
	}
	if _, err := decode(0, source.InputClose, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := decode(0, source.InputText, trade); err == nil {
		t.Error("a closed connection's channel is still known")
	}
	if got, err := decode(1, source.InputText, trade); got != "tETHUSD" || err != nil {
		t.Errorf("the other connection's is gone: %q, %v", got, err)
	}
}
