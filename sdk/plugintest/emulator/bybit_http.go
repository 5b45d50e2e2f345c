package emulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// http answers the public endpoints of API v5 that a collector uses.
func (d *bybit) http(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/v5/market/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	d.e.mu.Lock()
	result, msg := d.answer(path, r.URL.Query().Get)
	d.e.mu.Unlock()
	code := 0
	if msg != "" {
		code, result = 10001, obj{}
	} else {
		msg = "OK"
	}
	b, _ := json.Marshal(obj{"retCode": code, "retMsg": msg, "result": result, "retExtInfo": obj{}, "time": time.Now().UnixMilli()})
	d.e.reply(w, r, http.StatusOK, b)
}

func (d *bybit) answer(path string, arg func(string) string) (result any, why string) {
	now := time.Now().UnixNano()
	if path == "time" {
		return obj{"timeSecond": strconv.FormatInt(now/1_000_000_000, 10), "timeNano": strconv.FormatInt(now, 10)}, ""
	}
	if arg("category") != d.market.String() {
		return nil, "params error: Category is invalid"
	}
	list := func(l any) any { return obj{"category": d.market.String(), "list": l, "nextPageCursor": ""} }
	if path == "instruments-info" {
		all := []obj{}
		for _, s := range d.e.mkt.listed() {
			if d.market != market.MarketOption || s.base == arg("baseCoin") {
				all = append(all, d.listing(s))
			}
		}
		return list(all), ""
	}
	if path == "tickers" && arg("symbol") == "" {
		all := []json.RawMessage{}
		for _, s := range d.e.mkt.listed() {
			if arg("baseCoin") == "" || s.base == arg("baseCoin") {
				all = append(all, append(d.stated([]byte{'{'}, s, now, true, true), '}'))
			}
		}
		return list(all), ""
	}
	s := d.e.mkt.byName[arg("symbol")]
	if s == nil {
		return nil, "params error: symbol invalid"
	}
	limit, _ := strconv.Atoi(arg("limit"))
	switch path {
	case "orderbook":
		if d.e.take(FaultStaleSnapshot) != nil {
			s = s.first(d.e.opt.Seed, d.e.opt.Depth, d.e.opt.FirstID)
		}
		b := append(append(append([]byte(`{"s":"`), s.native...), '"'), d.sides(nil, s, max(limit, 1))...)
		b = appendInt(append(b, `],"u":`...), s.seq)
		b = appendInt(append(b, `,"seq":`...), 4*s.seq)
		return json.RawMessage(append(appendInt(append(b, `,"ts":`...), now/1_000_000), '}')), ""
	case "tickers":
		return list([]json.RawMessage{append(d.stated([]byte{'{'}, s, now, true, true), '}')}), ""
	case "recent-trade": // newest first
		all := []json.RawMessage{}
		for id := s.trade; id > max(s.trade-recentTrades, 0) && len(all) < max(limit, 60); id-- {
			if t := s.recent[id%recentTrades]; t.id == id {
				all = append(all, d.trade(nil, s, t, true))
			}
		}
		return list(all), ""
	case "open-interest":
		return obj{"symbol": s.native, "category": d.market.String(), "list": []obj{{"openInterest": "20000", "timestamp": strconv.FormatInt(now/1_000_000, 10)}}}, ""
	case "account-ratio":
		return list([]obj{{"symbol": s.native, "buyRatio": "0.58", "sellRatio": "0.42", "timestamp": strconv.FormatInt(now/1_000_000, 10)}}), ""
	}
	return nil, "params error: no such request"
}

func (d *bybit) listing(s *symbol) obj {
	tick := string(appendFixed(nil, 1, s.tick, s.printTick))
	step := string(appendFixed(nil, 1, s.step, s.printStep))
	o := obj{"symbol": s.native, "status": s.statusOr("Trading"), "baseCoin": s.base, "quoteCoin": s.quote, "priceFilter": obj{"tickSize": tick}}
	if d.market == market.MarketSpot {
		o["lotSizeFilter"] = obj{"basePrecision": step, "minOrderQty": step}
		return o
	}
	o["lotSizeFilter"] = obj{"qtyStep": step, "minOrderQty": step}
	o["launchTime"], o["deliveryTime"], o["settleCoin"] = "1585526400000", "0", s.quote
	switch d.market {
	case market.MarketInverse:
		o["settleCoin"], o["contractType"] = s.base, "InversePerpetual"
	case market.MarketLinear:
		o["contractType"] = "LinearPerpetual"
	case market.MarketOption:
		parts := strings.Split(s.native, "-")
		if s.quote == "USD" {
			o["settleCoin"] = "USDC"
		}
		if o["optionsType"] = "Call"; parts[3] == "P" {
			o["optionsType"] = "Put"
		}
		if t, err := time.Parse("2Jan06", parts[1]); err == nil {
			o["deliveryTime"] = strconv.FormatInt(t.Add(8*time.Hour).UnixMilli(), 10)
		}
	}
	return o
}
