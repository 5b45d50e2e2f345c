package emulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

var krakenFuturesLengths = map[string]time.Duration{"1m": time.Minute, "5m": 5 * time.Minute, "15m": 15 * time.Minute, "30m": 30 * time.Minute,
	"1h": time.Hour, "4h": 4 * time.Hour, "12h": 12 * time.Hour, "1d": 24 * time.Hour, "1w": 7 * 24 * time.Hour}

// http answers the public endpoints that a collector uses.
func (d *krakenFutures) http(w http.ResponseWriter, r *http.Request) {
	d.e.mu.Lock()
	o, status := d.answer(r)
	d.e.mu.Unlock()
	if o == nil {
		http.NotFound(w, r)
		return
	}
	b, _ := json.Marshal(o) // texts and numbers always marshal
	d.e.reply(w, r, status, b)
}

func (d *krakenFutures) answer(r *http.Request) (obj, int) {
	now := time.Now().UTC()
	if chart, ok := strings.CutPrefix(r.URL.Path, "/api/charts/v1/trade/"); ok {
		symbol, length, _ := strings.Cut(chart, "/")
		s, every := d.e.mkt.byName[symbol], krakenFuturesLengths[length]
		if s == nil || every == 0 {
			return obj{"errors": []obj{{"severity": "error", "error_class": "NotFound"}}}, http.StatusNotFound
		}
		return obj{"candles": []json.RawMessage{d.candle(s, now.Truncate(every).Add(-every)), d.candle(s, now.Truncate(every))}, "more_candles": true}, http.StatusOK
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/derivatives/api/v3/")
	if !ok {
		return nil, 0
	}
	o := obj{"result": "success", "serverTime": now.Format("2006-01-02T15:04:05.000Z")}
	if path == "instruments" {
		list := []obj{{"symbol": "in_xbtusd", "type": "spot index", "tradeable": false}}
		for _, s := range d.e.mkt.listed() {
			list = append(list, d.listing(s))
		}
		o["instruments"] = list
		return o, http.StatusOK
	}
	s := d.e.mkt.byName[strings.ToUpper(r.URL.Query().Get("symbol"))]
	if s == nil {
		return obj{"result": "error", "error": "Parameter `symbol` is invalid", "serverTime": o["serverTime"]}, http.StatusBadRequest
	}
	switch path {
	case "history":
		list := []obj{}
		for id := s.trade; id > max(s.trade-100, 0); id-- {
			t := s.recent[id%recentTrades]
			if t.id != id {
				continue
			}
			side := "buy"
			if t.sell {
				side = "sell"
			}
			list = append(list, obj{"time": time.Unix(0, t.now).UTC().Format("2006-01-02T15:04:05.000Z"), "trade_id": 100 - len(list), "side": side, "type": "fill",
				"price": json.Number(s.appendTicks(nil, t.price)), "size": json.Number(s.appendQty(nil, t.qty)), "uid": fmt.Sprintf("00000000-0000-4000-8000-%d", id)})
		}
		o["history"] = list
	case "orderbook":
		sides := [2][][2]json.Number{{}, {}}
		side := func(k int) func(int, int64) {
			return func(i int, q int64) {
				sides[k] = append(sides[k], [2]json.Number{json.Number(s.appendPrice(nil, i)), json.Number(s.appendQty(nil, q))})
			}
		}
		s.bids(0, side(0))
		s.asks(0, side(1))
		o["orderBook"] = obj{"bids": sides[0], "asks": sides[1]}
	default:
		return nil, 0
	}
	return o, http.StatusOK
}

// candle is one of a day's prices: none are kept while nobody streams them.
func (d *krakenFutures) candle(s *symbol, start time.Time) json.RawMessage {
	b := appendInt([]byte(`{"time":`), start.UnixMilli())
	for _, x := range []struct {
		key   string
		price int64
	}{{"open", s.open}, {"high", s.high}, {"low", s.low}, {"close", s.last}} {
		b = s.appendTicks(fmt.Appendf(b, `,"%s":"`, x.key), x.price)
		b = append(b, '"')
	}
	return append(s.appendQty(append(b, `,"volume":`...), s.volume), '}')
}

func (d *krakenFutures) listing(s *symbol) obj {
	o := obj{"symbol": s.native, "type": "flexible_futures", "tradeable": true, "contractSize": 1, "contractValueTradePrecision": s.step, "impactMidSize": 1,
		"maxPositionSize": 1_000_000, "openingDate": "2022-01-01T00:00:00.000Z", "marginLevels": []obj{{"contracts": 0, "initialMargin": 0.02, "maintenanceMargin": 0.01}},
		"tickSize": json.Number(appendFixed(nil, 1, s.tick, s.printTick)), "postOnly": false, "category": "", "tags": []string{}}
	switch d.market {
	case market.MarketInverse:
		o["type"], o["underlying"] = "futures_inverse", "rr_"+strings.ToLower(s.base+s.quote)
	case market.MarketOption:
		o["type"] = "options"
	}
	if parts := strings.Split(s.native, "_"); len(parts) > 2 {
		if t, err := time.Parse("060102", parts[2]); err == nil {
			o["lastTradingTime"] = t.Add(8 * time.Hour).Format("2006-01-02T15:04:05.000Z")
		}
	}
	return o
}
