package emulator

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// http answers the public requests that a collector uses. Unknown markets of a
// book are a page, those of a ticker the tickers of all.
func (d *bitstamp) http(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/api/v2/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	what, native, _ := strings.Cut(strings.Trim(path, "/"), "/")
	d.e.mu.Lock()
	body, status := d.answer(what, d.e.mkt.byName[native], native, r.URL.Query().Get)
	d.e.mu.Unlock()
	d.e.reply(w, r, status, body)
}

func (d *bitstamp) answer(what string, s *symbol, native string, arg func(string) string) ([]byte, int) {
	now := time.Now()
	list := func(one func(*symbol) obj) ([]byte, int) {
		all := []obj{}
		for _, s := range d.e.mkt.syms {
			all = append(all, one(s))
		}
		b, _ := json.Marshal(all) // texts and numbers always marshal
		return b, http.StatusOK
	}
	switch {
	case what == "markets" && native == "":
		return list(d.listing)
	case what == "ticker" && s == nil:
		return list(func(s *symbol) obj { return d.ticker(s, now) })
	case s == nil:
		return []byte("<html><body>404 Not Found</body></html>"), http.StatusNotFound
	case what == "ticker":
		b, _ := json.Marshal(d.ticker(s, now)) // the same
		return b, http.StatusOK
	case what == "order_book":
		if d.e.take(FaultStaleSnapshot) != nil {
			s = s.first(d.e.opt.Seed, d.e.opt.Depth, d.e.opt.FirstID)
		}
		return append(d.sides(d.times([]byte{'{'}, s.seq), s), '}'), http.StatusOK
	case what == "transactions":
		all := []obj{}
		for id := s.trade; id > max(s.trade-recentTrades, 0); id-- {
			if t := s.recent[id%recentTrades]; t.id == id {
				side := "0"
				if t.sell {
					side = "1"
				}
				all = append(all, obj{"date": strconv.FormatInt(t.now/1_000_000_000, 10), "tid": strconv.FormatInt(id, 10), "type": side,
					"amount": string(s.appendQty(nil, t.qty)), "price": string(s.appendTicks(nil, t.price))})
			}
		}
		b, _ := json.Marshal(all)
		return b, http.StatusOK
	case what == "ohlc":
		step, err := strconv.ParseInt(arg("step"), 10, 64)
		limit, err2 := strconv.Atoi(arg("limit"))
		if err != nil || err2 != nil || limit < 1 || limit > 1000 || !slices.Contains(bitstampSteps, step) {
			return []byte(`{"code":"Missing data for required field.","errors":[]}`), http.StatusBadRequest
		}
		all := []obj{}
		at := now.Unix() - now.Unix()%step
		for i := limit - 1; i >= 0; i-- {
			price := func(ticks int64) string { return string(s.appendTicks(nil, ticks)) }
			all = append(all, obj{"timestamp": strconv.FormatInt(at-int64(i)*step, 10), "open": price(s.open), "high": price(s.high), "low": price(s.low),
				"close": price(s.last), "volume": string(s.appendQty(nil, s.volume))})
		}
		b, _ := json.Marshal(obj{"data": obj{"pair": d.name(s), "market": d.name(s), "ohlc": all}})
		return b, http.StatusOK
	}
	return []byte(`{"message": "Not found."}`), http.StatusNotFound
}

var bitstampSteps = []int64{60, 180, 300, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 259200}

// name is that of a market as tickers and catalogues have it.
func (d *bitstamp) name(s *symbol) string {
	n := s.base + "/" + s.quote
	if d.market == market.MarketLinear {
		n += "-PERP"
	}
	return n
}

func (d *bitstamp) ticker(s *symbol, now time.Time) obj {
	price := func(ticks int64) string { return string(s.appendTicks(nil, ticks)) }
	o := obj{"timestamp": strconv.FormatInt(now.Unix(), 10), "open": price(s.open), "open_24": price(s.open), "high": price(s.high), "low": price(s.low),
		"last": price(s.last), "volume": string(s.appendQty(nil, s.volume)), "vwap": price(s.last), "bid": price(s.price(s.bb)), "ask": price(s.price(s.ba)),
		"side": "0", "percent_change_24": "0.10", "market_type": "SPOT", "pair": d.name(s), "market": d.name(s)}
	if d.market == market.MarketLinear {
		o["market_type"], o["index_price"], o["mark_price"] = "PERPETUAL", price(s.last), price(s.last)
		o["open_interest"], o["open_interest_value"] = "66.98297", "5173637.6974705640488"
	}
	return o
}

func (d *bitstamp) listing(s *symbol) obj {
	o := obj{"name": d.name(s), "market_symbol": s.native, "base_currency": s.base, "base_decimals": s.step, "counter_currency": s.quote,
		"counter_decimals": s.tick, "minimum_order_value": "10", "trading": "Enabled", "instant_and_market_orders": "Enabled", "market_type": "SPOT"}
	if d.market == market.MarketLinear {
		o["market_type"], o["payoff_type"], o["contract_size"] = "PERPETUAL", "Linear", "1.00000000"
	}
	return o
}
