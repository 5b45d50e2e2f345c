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
func (d *okx) http(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/api/v5/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	d.e.mu.Lock()
	data, code, msg := d.answer(path, r.URL.Query().Get)
	d.e.mu.Unlock()
	b, _ := json.Marshal(obj{"code": code, "msg": msg, "data": data})
	status := http.StatusOK
	if code != "0" {
		status = http.StatusBadRequest
	}
	d.e.reply(w, r, status, b)
}

func (d *okx) answer(path string, arg func(string) string) (data any, code, msg string) {
	now := time.Now().UnixNano()
	millis := strconv.FormatInt(now/1_000_000, 10)
	switch path {
	case "public/time":
		return []obj{{"ts": millis}}, "0", ""
	case "public/instruments":
		list := []obj{}
		for _, s := range d.e.mkt.listed() {
			if d.product(s) == arg("instType") && (d.market != market.MarketOption || arg("instFamily") == s.base+"-"+s.quote) {
				list = append(list, d.listing(s))
			}
		}
		return list, "0", ""
	}
	if path == "market/tickers" {
		list := []json.RawMessage{}
		for _, s := range d.e.mkt.listed() {
			if d.product(s) == arg("instType") {
				list = append(list, d.ticker(nil, s, now))
			}
		}
		return list, "0", ""
	}
	s := d.e.mkt.byName[arg("instId")]
	if s == nil {
		return []obj{}, "51001", "Instrument ID doesn't exist."
	}
	limit, _ := strconv.Atoi(arg("limit"))
	if limit <= 0 || limit > 500 {
		limit = 100
	}
	switch path {
	case "market/books":
		n, _ := strconv.Atoi(arg("sz"))
		if d.e.take(FaultStaleSnapshot) != nil {
			s = s.first(d.e.opt.Seed, d.e.opt.Depth, d.e.opt.FirstID)
		}
		if n = min(n, 400); n == 400 { // books aren't cut, see okxVenue
			n = 0
		} else if n <= 0 {
			n = 1
		}
		b := append(d.book([]byte{'{'}, s, n), `],"ts":"`...)
		b = append(append(append(b, millis...), `","seqId":`...), strconv.FormatInt(s.seq, 10)...)
		return []json.RawMessage{append(b, '}')}, "0", ""
	case "market/ticker":
		return []json.RawMessage{d.ticker(nil, s, now)}, "0", ""
	case "market/trades", "market/history-trades": // newest first, ids between before and after
		before, _ := strconv.ParseInt(arg("before"), 10, 64)
		after, err := strconv.ParseInt(arg("after"), 10, 64)
		if err != nil {
			after = s.trade + 1
		}
		list := []json.RawMessage{}
		for id := min(after-1, s.trade); id > max(before, s.trade-recentTrades, 0) && len(list) < limit; id-- {
			if t := s.recent[id%recentTrades]; t.id == id {
				list = append(list, s.appendOKXTrade(nil, t))
			}
		}
		return list, "0", ""
	}
	return []obj{}, "50404", "The requested endpoint doesn't exist here."
}

func (d *okx) listing(s *symbol) obj {
	kind := d.product(s)
	o := obj{"instId": s.native, "instType": kind, "state": s.statusOr("live"), "alias": "", "category": "1", "instFamily": "", "uly": "", "baseCcy": "",
		"quoteCcy": "", "settleCcy": "", "ctType": "", "ctVal": "", "ctMult": "", "ctValCcy": "", "expTime": "", "optType": "", "stk": "",
		"tickSz": string(appendFixed(nil, 1, s.tick, s.printTick)), "lotSz": string(appendFixed(nil, 1, s.step, s.printStep)), "listTime": "1611916828000"}
	o["minSz"] = o["lotSz"]
	if d.market == market.MarketSpot {
		o["baseCcy"], o["quoteCcy"] = s.base, s.quote
		return o
	}
	parts := strings.Split(s.native, "-")
	o["uly"], o["instFamily"] = s.base+"-"+s.quote, parts[0]+"-"+parts[1]
	o["ctMult"], o["ctVal"], o["ctValCcy"], o["settleCcy"], o["ctType"] = "1", "0.01", s.base, s.quote, "linear"
	switch d.market {
	case market.MarketInverse:
		o["ctVal"], o["ctValCcy"], o["settleCcy"], o["ctType"] = "10", "USD", s.base, "inverse"
		if s.base == "BTC" {
			o["ctVal"] = "100"
		}
	case market.MarketOption:
		o["ctVal"], o["ctMult"], o["settleCcy"], o["ctType"] = "1", "0.01", s.base, ""
		o["stk"], o["optType"] = parts[3], parts[4]
	}
	if kind != "SWAP" {
		if t, err := time.Parse("060102", parts[2]); err == nil {
			o["expTime"] = strconv.FormatInt(t.Add(8*time.Hour).UnixMilli(), 10)
		}
	}
	return o
}
