package market

import "testing"

func TestNames(t *testing.T) {
	for text, m := range map[string]Market{
		"BTC-USDT": MarketSpot, "BTC-USDT-PERP": MarketLinear, "BTC-USDC-20261225": MarketLinear,
		"BTC-USD:BTC-PERP": MarketInverse, "BTC-USD:BTC-20261225": MarketInverse, "BTC-USD:USDC-PERP": MarketLinear,
		"BTC-USD:BTC-20261225-100000-C": MarketOption, "XRP-USDC-20261225-0.5-P": MarketOption,
	} {
		n, err := ParseName(text)
		if err != nil || n.String() != text || n.Market() != m {
			t.Errorf("%s is %+v, %s, %s, %v", text, n, n, n.Market(), err)
		}
	}
	for _, text := range []string{"", "BTC", "BTC-", "-USDT", "BTC-USDT-", "BTC-USDT-PERP-X", "BTC-USDT:USDT-PERP", "BTC-USD:BTC", "BTC-USD:-PERP",
		"BTC-USDT-2026", "BTC-USDT-20261332", "BTC-USD:BTC-20261225-100000", "BTC-USD:BTC-20261225-100000-X", "BTC-USD:BTC-PERP-1-C",
		"BTC-USD:BTC-20261225-x-C", "BTC/USD-PERP-1"} {
		if n, err := ParseName(text); err == nil {
			t.Errorf("%q is %+v", text, n)
		}
	}
	if d := NameDate("060102", "240628"); d != "20240628" || VenueDate("060102", d) != "240628" || NameDate("060102", "SWAP") != "" {
		t.Error(d)
	}
}

func TestCutQuote(t *testing.T) {
	quotes := []string{"USD", "USDT", "BTC", "T"}
	for symbol, want := range map[string][2]string{"BTCUSDT": {"BTC", "USDT"}, "XT": {"X", "T"}, "ETHBTC": {"ETH", "BTC"}, "BTC": {}, "USDT": {"USD", "T"}, "": {}, "ETHEUR": {}} {
		if base, quote := CutQuote(symbol, quotes); base != want[0] || quote != want[1] {
			t.Errorf("%q is %q and %q", symbol, base, quote)
		}
	}
}

// TestNameCode: months' codes name their last Friday, and no other day has one.
func TestNameCode(t *testing.T) {
	for code, day := range map[string]string{"H21": "20210326", "U21": "20210924", "M24": "20240628", "Z26": "20261225", "G28": "20280225"} {
		if got := NameCode(code); got != day || VenueCode(got) != code {
			t.Errorf("%s is %s, whose code is %q, want %s", code, got, VenueCode(got), day)
		}
	}
	for _, code := range []string{"", "Z", "26", "A26", "Z2x", "z26", "Z026"} {
		if day := NameCode(code); day != "" {
			t.Errorf("%q is %s", code, day)
		}
	}
	for _, day := range []string{"", "PERP", "20261224", "20261218"} {
		if code := VenueCode(day); code != "" {
			t.Errorf("%q has the code %s", day, code)
		}
	}
}
