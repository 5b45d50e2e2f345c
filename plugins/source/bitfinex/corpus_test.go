package bitfinex

import (
	"testing"

	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/plugintest/oracle"
)

func TestCaptures(t *testing.T) { oracle.Captures{Pattern: "bitfinex-*"}.Run(t, New()) }

func TestMessages(t *testing.T) {
	const repeat = "tu repeats the trade that te has told"
	oracle.Messages{
		Venue:      "bitfinex",
		Market:     func(*oracle.Message) (market.Market, string) { return market.MarketMixed, "" }, // symbols say it
		Normalise:  summed,
		Exceptions: map[int]string{2: repeat, 5: repeat, 12: unknown, 14: unknown},
	}.Run(t, New())
}

const unknown = "a change of an order in a raw book needs the book before it"

// summed states the orders of a raw book as levels.
func summed(_ *oracle.Message, e map[string]any) {
	if e["kind"] != "book_l3_snapshot" {
		return
	}
	type level = []any
	sides := map[string][]any{"bids": {}, "asks": {}}
	for _, o := range e["orders"].([]any) {
		price, amount := o.([]any)[1].(string), market.MustDecimal(o.([]any)[2].(string))
		side := "bids"
		if amount.Sign() < 0 {
			side, amount = "asks", amount.Neg()
		}
		if n := len(sides[side]); n > 0 && sides[side][n-1].(level)[0] == price {
			amount, _ = amount.Add(market.MustDecimal(sides[side][n-1].(level)[1].(string)))
			sides[side] = sides[side][:n-1]
		}
		sides[side] = append(sides[side], level{price, amount.String()})
	}
	delete(e, "orders")
	e["kind"], e["bids"], e["asks"] = "book_snapshot", sides["bids"], sides["asks"]
}
