package emulator

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// http answers the public endpoints of API v2 that a collector uses.
func (d *bitget) http(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/api/v2/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	now := time.Now()
	d.e.mu.Lock()
	data, code, msg := d.answer(path, now, r.URL.Query().Get)
	d.e.mu.Unlock()
	b, _ := json.Marshal(obj{"code": code, "msg": msg, "requestTime": now.UnixMilli(), "data": data})
	status := http.StatusOK
	if code != "00000" {
		status = http.StatusBadRequest
	}
	d.e.reply(w, r, status, b)
}

func (d *bitget) answer(path string, now time.Time, arg func(string) string) (data any, code, msg string) {
	millis := strconv.FormatInt(now.UnixMilli(), 10)
	kind, name, _ := strings.Cut(path, "/")
	if path == "public/time" {
		return obj{"serverTime": millis}, "00000", "success"
	}
	if (kind == "spot") != (d.market == market.MarketSpot) || kind != "spot" && kind != "mix" {
		return nil, "40404", "Request URL NOT FOUND"
	}
	switch name {
	case "public/symbols", "market/contracts":
		list := []obj{}
		for _, s := range d.e.mkt.listed() {
			if kind == "spot" || strings.EqualFold(arg("productType"), d.product(s)) {
				list = append(list, d.listing(s))
			}
		}
		return list, "00000", "success"
	}
	if name == "market/tickers" && arg("symbol") == "" {
		list := []json.RawMessage{}
		for _, s := range d.e.mkt.listed() {
			if kind == "spot" || strings.EqualFold(arg("productType"), d.product(s)) {
				list = append(list, d.ticker(nil, s, now.UnixNano(), true))
			}
		}
		return list, "00000", "success"
	}
	s := d.e.mkt.byName[arg("symbol")]
	if s == nil {
		return nil, "40034", "Parameter " + arg("symbol") + " does not exist"
	}
	if kind == "mix" && !strings.HasSuffix(name, "-long-short") && !strings.EqualFold(arg("productType"), d.product(s)) {
		return nil, "40019", "Parameter productType cannot be empty"
	}
	switch name {
	case "market/fills", "market/fills-history":
		limit, _ := strconv.Atoi(arg("limit"))
		if limit <= 0 || limit > 1000 {
			limit = 500
		}
		from, to := int64(0), int64(math.MaxInt64)
		if name == "market/fills-history" {
			from, _ = strconv.ParseInt(arg("startTime"), 10, 64)
			if n, err := strconv.ParseInt(arg("endTime"), 10, 64); err == nil {
				to = n
			}
		}
		return json.RawMessage(append(d.trades([]byte{'['}, s, limit, from, to, true), ']')), "00000", "success"
	case "market/ticker", "market/tickers":
		return []json.RawMessage{d.ticker(nil, s, now.UnixNano(), true)}, "00000", "success"
	case "market/account-long-short":
		return []obj{{"longAccountRatio": "0.55", "shortAccountRatio": "0.45", "longShortAccountRatio": "1.22", "ts": millis}}, "00000", "success"
	case "market/position-long-short":
		return []obj{{"longPositionRatio": "0.51", "shortPositionRatio": "0.49", "longShortPositionRatio": "1.04", "ts": millis}}, "00000", "success"
	}
	return nil, "40404", "Request URL NOT FOUND"
}

func (d *bitget) listing(s *symbol) obj {
	if d.market == market.MarketSpot {
		return obj{"symbol": s.native, "baseCoin": s.base, "quoteCoin": s.quote, "status": "online", "minTradeUSDT": "1",
			"pricePrecision": strconv.Itoa(int(s.tick)), "quantityPrecision": strconv.Itoa(int(s.step)), "quotePrecision": "8"}
	}
	o := obj{"symbol": s.native, "baseCoin": s.base, "quoteCoin": s.quote, "symbolStatus": "normal", "symbolType": "perpetual", "deliveryTime": "",
		"pricePlace": strconv.Itoa(int(s.tick)), "priceEndStep": "1", "volumePlace": strconv.Itoa(int(s.step)), "sizeMultiplier": string(appendFixed(nil, 1, s.step, s.printStep)),
		"fundInterval": "8", "supportMarginCoins": []string{s.quote}}
	if _, day, ok := strings.Cut(s.native, "_"); ok {
		o["symbolType"] = "delivery"
		if t, err := time.Parse("060102", day); err == nil {
			o["deliveryTime"] = strconv.FormatInt(t.Add(8*time.Hour).UnixMilli(), 10)
		}
	}
	return o
}
