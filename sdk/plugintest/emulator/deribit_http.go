package emulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// http answers the public methods that a collector uses.
func (d *deribit) http(w http.ResponseWriter, r *http.Request) {
	method, ok := strings.CutPrefix(r.URL.Path, "/api/v2/public/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	d.e.mu.Lock()
	result, refused := d.answer(method, r.URL.Query().Get)
	d.e.mu.Unlock()
	status := http.StatusOK
	if refused != nil {
		status = http.StatusBadRequest
	}
	d.e.reply(w, r, status, deribitAnswer(nil, result, refused))
}

func (d *deribit) answer(method string, arg func(string) string) (result any, refused *deribitError) {
	now := time.Now()
	switch method {
	case "get_time":
		return now.UnixMilli(), nil
	case "test":
		return obj{"version": "1.2.26"}, nil
	case "get_instruments":
		list := []obj{}
		for _, s := range d.e.mkt.listed() {
			if o := d.listing(s); arg("kind") == "" || o["kind"] == arg("kind") {
				list = append(list, o)
			}
		}
		return list, nil
	}
	s := d.e.mkt.byName[arg("instrument_name")]
	if s == nil {
		return nil, &deribitError{Code: -32602, Message: "Invalid params", Data: obj{"reason": "instrument not found", "param": "instrument_name"}}
	}
	switch method {
	case "get_order_book":
		n, _ := strconv.Atoi(arg("depth"))
		if n <= 0 {
			n = 5
		}
		if d.e.take(FaultStaleSnapshot) != nil {
			s = s.first(d.e.opt.Seed, d.e.opt.Depth, d.e.opt.FirstID)
		}
		return json.RawMessage(d.book(nil, s, now.UnixNano(), n)), nil
	case "get_last_trades_by_instrument":
		from, _ := strconv.ParseInt(arg("start_seq"), 10, 64)
		to, err := strconv.ParseInt(arg("end_seq"), 10, 64)
		if err != nil {
			to = s.trade
		}
		count, _ := strconv.Atoi(arg("count"))
		if count <= 0 || count > 1000 {
			count = 10
		}
		list := []json.RawMessage{}
		for id := max(from, s.trade-recentTrades+1, 1); id <= min(to, s.trade) && len(list) < count; id++ {
			if t := s.recent[id%recentTrades]; t.id == id {
				list = append(list, d.trade(nil, s, t))
			}
		}
		return obj{"trades": list, "has_more": false}, nil
	}
	return nil, &deribitError{Code: -32601, Message: "Method not found"}
}

func (d *deribit) listing(s *symbol) obj {
	type num = json.Number
	o := obj{"instrument_name": s.native, "kind": "future", "base_currency": s.base, "quote_currency": s.quote, "counter_currency": s.quote,
		"is_active": true, "state": "open", "tick_size": num(appendFixed(nil, 1, s.tick, s.printTick)), "min_trade_amount": num(appendFixed(nil, 1, s.step, s.printStep)),
		"contract_size": num(appendFixed(nil, 1, s.step, s.printStep)), "price_index": strings.ToLower(s.base + "_" + s.quote), "creation_timestamp": 1611916828000,
		"expiration_timestamp": int64(32503708800000), "rfq": false}
	if d.market == market.MarketSpot {
		o["kind"] = "spot"
		return o
	}
	o["instrument_type"], o["settlement_currency"], o["settlement_period"] = "linear", s.quote, "perpetual"
	parts := strings.Split(s.native, "-")
	if !strings.Contains(parts[0], "_") {
		o["instrument_type"], o["settlement_currency"] = "reversed", s.base
	}
	if at, err := time.Parse("2Jan06", parts[1]); err == nil {
		o["settlement_period"], o["expiration_timestamp"] = "month", at.Add(8*time.Hour).UnixMilli()
	}
	if len(parts) == 4 {
		o["kind"], o["strike"], o["option_type"] = "option", num(strings.Replace(parts[2], "d", ".", 1)), "call"
		if parts[3] == "P" {
			o["option_type"] = "put"
		}
	}
	return o
}
