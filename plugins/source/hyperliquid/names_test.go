package hyperliquid

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

func TestNames(t *testing.T) {
	var all []oracle.Listing
	for _, coin := range []string{"BTC", "ETH", "kPEPE", "0G", "2Z", "HYPE", "MATIC"} {
		all = append(all, oracle.Listing{Market: market.MarketLinear, Symbol: coin, Name: coin + "-USDC-PERP", Base: coin, Quote: "USDC", Settle: "USDC", End: "PERP"})
	}
	oracle.Names(t, New(), append(all, []oracle.Listing{
		{Market: market.MarketLinear, Symbol: "xyz:SP500", Name: "xyz.SP500-USDC-PERP"},
		{Market: market.MarketLinear, Symbol: "flx:TSLA", Name: "flx.TSLA-USDH-PERP"},
		{Market: market.MarketLinear, Symbol: "hyna:BTC", Name: "hyna.BTC-USDE-PERP"},
		{Market: market.MarketLinear, Symbol: "cash:BTC", Name: "cash.BTC-USDT0-PERP"},
		{Market: market.MarketSpot, Symbol: "PURR/USDC", Name: "PURR-USDC"},
		{Market: market.MarketSpot, Symbol: "@107", Name: "HYPE-USDC"},
		{Market: market.MarketSpot, Symbol: "@142", Name: "UBTC-USDC"},
		{Market: market.MarketSpot, Symbol: "@151", Name: "UETH-USDC"},
	}...))
	oracle.RefusesNames(t, New(), "", "BTC", "BTC-USDT-PERP", "xyz.SP500-USDH-PERP", "BTC-USDC-20261225", "BTC-USD:BTC-PERP", "BTC-USDC-20261225-1-C",
		"USOL-USDC", "PURR-USDT", "a.b.c-USDC", ".X-USDC-PERP", "X.-USDC-PERP")
	oracle.Nameless(t, New(), market.MarketSpot, "@232", "#330", "HYPE", "")
	oracle.Nameless(t, New(), market.MarketLinear, "", "@107", "PURR/USDC", "a-b", ":X", "xyz:", "xyz:A:B")
}

// TestMarketOf: a coin tells its market.
func TestMarketOf(t *testing.T) {
	for symbol, want := range map[string]market.Market{"BTC": market.MarketLinear, "xyz:SP500": market.MarketLinear, "PURR/USDC": market.MarketSpot,
		"@107": market.MarketSpot, "#330": market.MarketSpot} {
		if m := marketOf([]byte(symbol)); m != want {
			t.Errorf("%s is on %s", symbol, m)
		}
	}
}

// TestCatalogues: one record for each listing, by the steps that follow from its
// places.
func TestCatalogues(t *testing.T) {
	const url = "https://api.hyperliquid.xyz/info"
	perps := oracle.Listings(t, New(), oracle.Answer(url, []byte(`[{"universe":[{"name":"BTC","szDecimals":5,"maxLeverage":40},{"name":"kPEPE","szDecimals":0}],"collateralToken":0},
		{"universe":[{"name":"flx:TSLA","szDecimals":3,"isDelisted":true}],"collateralToken":360}]`)), market.MarketLinear, market.MarketMixed)
	spot := oracle.Listings(t, New(), oracle.Answer(url, []byte(`{"universe":[{"tokens":[1,0],"name":"PURR/USDC","index":0},{"tokens":[150,0],"name":"@107","index":107}],
		"tokens":[{"name":"USDC","szDecimals":8,"index":0},{"name":"PURR","szDecimals":0,"index":1},{"name":"HYPE","szDecimals":2,"index":150}]}`)), market.MarketSpot)
	want := []struct{ symbol, tick, lot string }{{"BTC", "0.1", "0.00001"}, {"kPEPE", "0.000001", "1"}, {"flx:TSLA", "0.001", "0.001"}}
	want = append(append(want, want...), []struct{ symbol, tick, lot string }{{"PURR/USDC", "0.00000001", "1"}, {"@107", "0.000001", "0.01"}}...)
	all := append(perps, spot...)
	if len(all) != len(want) {
		t.Fatalf("%d records of %d listings", len(all), len(want))
	}
	for i, it := range all {
		tick, lot := oracle.Dec(t, it.Record, "tick_size").String(), oracle.Dec(t, it.Record, "lot_size").String()
		if w := want[i]; it.Instrument.Symbol != w.symbol || tick != w.tick || lot != w.lot {
			t.Errorf("%s: tick %s, lot %s, want %v", it.Instrument.Symbol, tick, lot, w)
		}
	}
}
