package gateio

import (
	"encoding/json"
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

// listed is a pair or a contract.
type listed struct {
	ID, Base, Quote  string
	Name, Type       string
	QuantoMultiplier string `json:"quanto_multiplier"`
	Underlying       string
}

// TestNames goes through every listing of the recorded catalogues. Contracts
// quoted in USD and multiplied by bitcoin's price are linear.
func TestNames(t *testing.T) {
	for _, path := range oracle.Files(t, 21, "catalogues", "gate", "*.json.gz") {
		_, list := oracle.Catalogue[listed](t, path)
		var ls []oracle.Listing
		for _, l := range list {
			one := oracle.Listing{Market: market.MarketSpot, Symbol: l.ID, Base: l.Base, Quote: l.Quote}
			if l.Name != "" {
				one = oracle.Listing{Market: contractOf([]byte(l.Name)), Symbol: l.Name, End: "PERP"}
				if l.Underlying != "" {
					one.End = l.Name[len(l.Underlying)+1:]
				}
				if inverse := l.Type == "inverse"; inverse != (one.Market == market.MarketInverse) {
					t.Errorf("%s: %s is %s, the venue says %s", path, l.Name, one.Market, l.Type)
				} else if inverse {
					one.Settle, one.ContractSize = settled, "1"
				}
			}
			ls = append(ls, one)
		}
		oracle.Names(t, New(), ls)
	}
	oracle.Names(t, New(), []oracle.Listing{
		{Market: market.MarketOption, Symbol: "BTC_USDT-20261225-100000-C", Name: "BTC-USDT-20261225-100000-C"},
		{Market: market.MarketOption, Symbol: "ETH_USDT-20261225-0.5-P", Name: "ETH-USDT-20261225-0.5-P"},
		{Market: market.MarketLinear, Symbol: "BTC_USD1", Name: "BTC-USD1-PERP"},
		{Market: market.MarketLinear, Symbol: "ETH_USD", Name: "ETH-USD:BTC-PERP"},
		{Market: market.MarketInverse, Symbol: "BTC_USD_20220930", Name: "BTC-USD:BTC-20220930"},
	})
}

// TestCatalogues decodes the same lists as answers.
func TestCatalogues(t *testing.T) {
	for _, path := range oracle.Files(t, 21, "catalogues", "gate", "*.json.gz") {
		raw, list := oracle.Catalogue[listed](t, path)
		body, err := json.Marshal(raw)
		if err != nil {
			t.Fatal(err)
		}
		address, markets := "https://api.gateio.ws/api/v4/spot/currency_pairs", []market.Market{market.MarketSpot}
		if list[0].ID == "" {
			address, markets = "https://api.gateio.ws/api/v4/futures/usdt/contracts", []market.Market{market.MarketLinear, market.MarketInverse}
		}
		if all := oracle.Listings(t, New(), oracle.Answer(address, body), markets...); len(all) != len(list) {
			t.Errorf("%s: %d records of %d listings", path, len(all), len(list))
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	oracle.RefusesNames(t, New(), "", "BTC", "BTC-", "BTC-USD-PERP", "ETH-USD:ETH-PERP", "BTC-USDT:BTC-PERP", "BTC-USDT-2026", "B_T-USDT", "BTC-USD:BTC-20261225-1-C")
	oracle.Nameless(t, New(), market.MarketLinear, "BTCUSDT", "BTC_USDT_2026", "BTC_USDT_20261225_1")
	oracle.Nameless(t, New(), market.MarketOption, "BTC_USDT", "BTC_USDT-20261225-1-X", "BTC_USDT-1-1-C")
	oracle.Nameless(t, New(), market.MarketSpot, "BTC_USDT_20261225")
}
