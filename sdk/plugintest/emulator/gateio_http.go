package emulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// http answers the public endpoints of API v4 that a collector uses. Answers have
// nothing around them.
func (d *gate) http(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/api/v4/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	how := uint8(0)
	if r.Header.Get("X-Gate-Size-Decimal") == "1" {
		how = gateDecimals
	}
	d.e.mu.Lock()
	body, label := d.answer(path, r.URL.Query().Get, how)
	d.e.mu.Unlock()
	if label != "" {
		b, _ := json.Marshal(obj{"label": label, "message": "not found by the emulator"}) // texts always marshal
		d.e.reply(w, r, http.StatusBadRequest, b)
		return
	}
	d.e.reply(w, r, http.StatusOK, body)
}

// products is the path of what a symbol is one of.
func (d *gate) products(s *symbol) string {
	switch path := strings.TrimPrefix(d.path(s), "/v4/ws/"); {
	case d.market == market.MarketSpot:
		return "spot"
	case d.market == market.MarketOption:
		return "options"
	case d.delivered(s):
		return path
	default:
		return "futures/" + path
	}
}

func (d *gate) answer(path string, arg func(string) string, how uint8) (body []byte, label string) {
	products, what, _ := gateCut(path, "/")
	if what == "contracts" || what == "currency_pairs" {
		all := []obj{}
		for _, s := range d.e.mkt.listed() {
			if d.products(s) == products && (d.market != market.MarketOption || arg("underlying") == s.base+"_"+s.quote) {
				all = append(all, d.listing(s))
			}
		}
		body, _ = json.Marshal(all) // texts and numbers always marshal
		return body, ""
	}
	if what == "tickers" && d.market != market.MarketOption && arg("currency_pair")+arg("contract") == "" {
		body = append(body, '[')
		for _, s := range d.e.mkt.listed() {
			if d.products(s) == products {
				if len(body) > 1 {
					body = append(body, ',')
				}
				body = d.ticker(body, s, time.Now().UnixNano(), how)
			}
		}
		return append(body, ']'), ""
	}
	s := d.e.mkt.byName[arg("currency_pair")+arg("contract")]
	if s == nil || d.products(s) != products {
		return nil, "INVALID_CURRENCY_PAIR"
	}
	limit, _ := strconv.Atoi(arg("limit"))
	now := time.Now().UnixNano()
	switch what {
	case "order_book":
		if d.e.take(FaultStaleSnapshot) != nil {
			s = s.first(d.e.opt.Seed, d.e.opt.Depth, d.e.opt.FirstID)
		}
		if limit >= 50 { // books aren't cut, see gateVenue
			limit = 0
		} else if limit <= 0 {
			limit = 10
		}
		body = append(body, '{')
		if arg("with_id") == "true" {
			body = append(gateInt(body, `"id":`, s.seq), ',')
		}
		if d.market == market.MarketSpot {
			body = gateInt(gateInt(body, `"current":`, now/1_000_000), `,"update":`, now/1_000_000)
		} else {
			seconds := string(appendFixed(nil, now/1_000_000, 3, 3))
			body = append(body, `"current":`+seconds+`,"update":`+seconds...)
		}
		return append(d.sides(body, [2]string{`,"bids":[`, `,"asks":[`}, s, limit, how, d.market != market.MarketSpot), '}'), ""
	case "trades":
		if limit <= 0 || limit > 1000 {
			limit = 100
		}
		body = append(body, '[')
		for id := s.trade; id > max(s.trade-recentTrades, 0) && limit > 0; id, limit = id-1, limit-1 {
			if t := s.recent[id%recentTrades]; t.id == id {
				if len(body) > 1 {
					body = append(body, ',')
				}
				body = d.trade(body, s, t, how)
			}
		}
		return append(body, ']'), ""
	case "tickers":
		return append(d.ticker([]byte{'['}, s, now, how), ']'), ""
	}
	return nil, "INVALID_ARGUMENT"
}

func (d *gate) listing(s *symbol) obj {
	tick := string(appendFixed(nil, 1, s.tick, s.printTick))
	parts := strings.Split(s.native, "-")
	switch d.market {
	case market.MarketSpot:
		return obj{"id": s.native, "base": s.base, "quote": s.quote, "fee": "0.2", "min_quote_amount": "3", "amount_precision": s.step,
			"precision": s.tick, "trade_status": "tradable", "sell_start": 0, "buy_start": 0}
	case market.MarketOption:
		expiry, _ := time.Parse("20060102", parts[1])
		return obj{"name": s.native, "tag": "month", "create_time": 1637917026, "expiration_time": expiry.Add(8 * time.Hour).Unix(), "is_call": parts[3] == "C",
			"strike_price": parts[2], "multiplier": "0.01", "underlying": parts[0], "order_price_round": tick, "order_size_min": 1, "is_active": true}
	}
	o := obj{"name": s.native, "type": "direct", "quanto_multiplier": "0.0001", "order_price_round": tick, "order_size_min": "0", "enable_decimal": true,
		"in_delisting": false, "status": "trading", "funding_interval": 28800}
	if d.market == market.MarketInverse {
		o["type"], o["quanto_multiplier"] = "inverse", "0"
	}
	if d.delivered(s) {
		_, day, _ := gateCut(s.native, "_")
		expiry, _ := time.Parse("20060102", day)
		o["expire_time"], o["underlying"] = expiry.Add(8*time.Hour).Unix(), s.base+"_"+s.quote
	}
	return o
}
