package emulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// http answers the part of Binance's REST API that a collector of market data
// uses, with the weights of the pages that describe it.
func (d *binance) http(w http.ResponseWriter, r *http.Request) {
	root := map[market.Market]string{market.MarketSpot: "/api/v3/", market.MarketLinear: "/fapi/v1/", market.MarketInverse: "/dapi/v1/"}[d.market]
	path, ok := strings.CutPrefix(r.URL.Path, root)
	if data, is := strings.CutPrefix(r.URL.Path, "/futures/data/"); is && d.market != market.MarketSpot {
		path, ok = "data/"+data, true
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	q := r.URL.Query()
	limit, _ := strconv.Atoi(q.Get("limit"))
	used, allowed := d.e.weigh(d.weight(path, limit))
	w.Header().Set("X-MBX-USED-WEIGHT-1M", strconv.Itoa(used))
	if !allowed {
		w.Header().Set("Retry-After", strconv.Itoa(60-time.Now().Second()))
		d.e.reply(w, r, http.StatusTooManyRequests, []byte(`{"code":-1003,"msg":"Too much request weight used; current limit is 6000 request weight per 1 MINUTE."}`))
		return
	}
	d.e.mu.Lock()
	status, body := d.answer(path, q.Get, limit)
	d.e.mu.Unlock()
	if status == http.StatusNotFound {
		http.NotFound(w, r)
		return
	}
	d.e.reply(w, r, status, body)
}

func (d *binance) weight(path string, limit int) int {
	spot := d.market == market.MarketSpot
	switch {
	case path == "depth" && spot:
		switch {
		case limit <= 100:
			return 5
		case limit <= 500:
			return 25
		case limit <= 1000:
			return 50
		}
		return 250
	case path == "depth":
		switch {
		case limit > 0 && limit <= 50:
			return 2
		case limit == 100:
			return 5
		case limit == 1000:
			return 20
		}
		return 10
	case path == "exchangeInfo" && spot:
		return 20
	case strings.HasPrefix(path, "data/"):
		return 0
	case spot && path != "ping" && path != "time":
		return 2
	}
	return 1
}

type obj = map[string]any

func (d *binance) answer(path string, arg func(string) string, limit int) (int, []byte) {
	now := time.Now()
	ok := func(v any) (int, []byte) {
		b, err := json.Marshal(v)
		if err != nil {
			return http.StatusInternalServerError, []byte(err.Error())
		}
		return http.StatusOK, b
	}
	switch path {
	case "ping":
		return ok(obj{})
	case "time":
		return ok(obj{"serverTime": now.UnixMilli()})
	case "exchangeInfo":
		return ok(d.exchangeInfo(now))
	}
	name := arg("symbol")
	if name == "" && arg("pair") != "" {
		name = arg("pair")
		if d.market == market.MarketInverse {
			name += "_PERP"
		}
	}
	s := d.e.mkt.byName[name]
	if s == nil {
		if all, is := map[string]bool{"ticker/24hr": true, "premiumIndex": true, "ticker/price": true, "ticker/bookTicker": true}[path]; name == "" && all && is {
			list := []json.RawMessage{}
			for _, s := range d.e.mkt.syms {
				_, b := d.answer(path, func(k string) string { return map[string]string{"symbol": s.native}[k] }, limit)
				list = append(list, b)
			}
			return ok(list)
		}
		return http.StatusBadRequest, []byte(`{"code":-1121,"msg":"Invalid symbol."}`)
	}
	price := func(p int64) string { return string(s.appendTicks(nil, p)) }
	qty := func(q int64) string { return string(s.appendQty(nil, q)) }
	exact := func(p int64) string { return string(appendFixed(nil, p, s.tick, 8)) }
	interest := 20_000*pow10[s.step] + s.volume%(1000*pow10[s.step])
	switch path {
	case "depth":
		return http.StatusOK, d.depth(s, limit, now)
	case "trades", "historicalTrades", "aggTrades":
		return ok(d.trades(s, path == "aggTrades", arg("fromId"), limit))
	case "ticker/price":
		return ok(obj{"symbol": s.native, "price": price(s.last)})
	case "ticker/bookTicker":
		return ok(obj{"symbol": s.native, "bidPrice": price(s.price(s.bb)), "bidQty": qty(s.qty[s.bb]),
			"askPrice": price(s.price(s.ba)), "askQty": qty(s.qty[s.ba])})
	case "ticker/24hr":
		o := obj{"symbol": s.native, "priceChange": price(s.last - s.open), "weightedAvgPrice": price(s.last), "lastPrice": price(s.last),
			"lastQty": qty(s.lastQty), "openPrice": price(s.open), "highPrice": price(s.high), "lowPrice": price(s.low), "volume": qty(s.volume),
			"quoteVolume": string(s.turnover.append(nil)), "openTime": now.Add(-24 * time.Hour).UnixMilli(), "closeTime": now.UnixMilli(),
			"firstId": s.trade - s.trades + 1, "lastId": s.trade, "count": s.trades}
		return ok(o)
	}
	if d.market == market.MarketSpot {
		return http.StatusNotFound, nil
	}
	linear := d.market == market.MarketLinear
	with := func(o obj) obj {
		if !linear {
			o["pair"] = s.base + s.quote
		}
		return o
	}
	five := now.Truncate(5 * time.Minute).UnixMilli()
	switch path {
	case "openInterest":
		o := with(obj{"symbol": s.native, "openInterest": qty(interest), "time": now.UnixMilli()})
		if !linear {
			o["contractType"] = "PERPETUAL"
		}
		return ok(o)
	case "premiumIndex":
		next := now.Truncate(8 * time.Hour).Add(8 * time.Hour)
		o := with(obj{"symbol": s.native, "markPrice": exact(s.last), "indexPrice": exact(s.last - 1), "estimatedSettlePrice": exact(s.last + 1),
			"lastFundingRate": "0.00010000", "interestRate": "0.00010000", "nextFundingTime": next.UnixMilli(), "time": now.UnixMilli()})
		if !linear && arg("symbol") != "" {
			return ok([]obj{o})
		}
		return ok(o)
	case "fundingRate":
		return ok([]obj{{"symbol": s.native, "fundingTime": now.Truncate(8 * time.Hour).UnixMilli(), "fundingRate": "0.00010000", "markPrice": exact(s.last)}})
	case "data/openInterestHist":
		o := with(obj{"sumOpenInterest": qty(interest), "sumOpenInterestValue": "1000000.00000000", "timestamp": five})
		if linear {
			o["symbol"] = s.native
		} else {
			o["contractType"] = "PERPETUAL"
		}
		return ok([]obj{o})
	case "data/globalLongShortAccountRatio", "data/topLongShortAccountRatio", "data/topLongShortPositionRatio":
		o := with(obj{"longShortRatio": "1.9559", "longAccount": "0.6617", "shortAccount": "0.3383", "timestamp": five})
		if linear {
			o["symbol"] = s.native
		}
		return ok([]obj{o})
	}
	return http.StatusNotFound, nil
}

// depth is the true book at its last update, or by an injected fault the one of
// the start.
func (d *binance) depth(s *symbol, limit int, now time.Time) []byte {
	if limit <= 0 {
		limit = 100
		if d.market != market.MarketSpot {
			limit = 500
		}
	}
	limit = min(limit, 5000)
	if d.e.take(FaultStaleSnapshot) != nil {
		s = s.first(d.e.opt.Seed, d.e.opt.Depth, d.e.opt.FirstID)
	}
	b := appendInt([]byte(`{"lastUpdateId":`), s.seq)
	if d.market != market.MarketSpot {
		if d.market == market.MarketInverse {
			b = append(append(append(append(append(append(b, `,"symbol":"`...), s.native...), `","pair":"`...), s.base...), s.quote...), '"')
		}
		b = appendInt(append(b, `,"E":`...), now.UnixMilli())
		b = appendInt(append(b, `,"T":`...), now.UnixMilli())
	}
	return append(s.appendBook(b, `,"bids":[`, `],"asks":[`, limit), `]}`...)
}

func (d *binance) trades(s *symbol, agg bool, from string, limit int) []obj {
	if limit <= 0 {
		limit = 500
	}
	limit = min(limit, 1000)
	first := s.trade - int64(limit) + 1
	if from != "" {
		n, _ := strconv.ParseInt(from, 10, 64)
		if agg { // both ids run in step
			n += s.trade - s.agg
		}
		first = n
	}
	list := []obj{}
	for id := first; id <= s.trade && len(list) < limit; id++ {
		t := s.recent[((id%recentTrades)+recentTrades)%recentTrades]
		if t.id != id {
			continue
		}
		p, q, ms := string(s.appendTicks(nil, t.price)), string(s.appendQty(nil, t.qty)), t.now/1_000_000
		if agg {
			list = append(list, obj{"a": t.agg, "p": p, "q": q, "f": t.id, "l": t.id, "T": ms, "m": t.sell, "M": true})
			continue
		}
		var v turnover
		v.add(t.price, t.qty, s.tick+s.step)
		list = append(list, obj{"id": t.id, "price": p, "qty": q, "quoteQty": string(v.append(nil)), "time": ms, "isBuyerMaker": t.sell, "isBestMatch": true})
	}
	return list
}

func (d *binance) exchangeInfo(now time.Time) obj {
	limit := 6000
	if d.market == market.MarketLinear {
		limit = 2400
	}
	list := []obj{}
	for _, s := range d.e.mkt.listed() {
		tick, step := string(appendFixed(nil, 1, s.tick, s.printTick)), string(appendFixed(nil, 1, s.step, s.printStep))
		o := obj{"symbol": s.native, "status": s.statusOr("TRADING"), "baseAsset": s.base, "quoteAsset": s.quote, "baseAssetPrecision": 8, "quotePrecision": 8,
			"orderTypes": []string{"LIMIT", "MARKET"}, "filters": []obj{
				{"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00", "tickSize": tick},
				{"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000", "stepSize": step}}}
		switch d.market {
		case market.MarketSpot:
			o["quoteAssetPrecision"], o["isSpotTradingAllowed"], o["permissions"] = 8, true, []string{"SPOT"}
		case market.MarketLinear:
			o["pair"], o["contractType"], o["marginAsset"] = s.native, "PERPETUAL", s.quote
			o["pricePrecision"], o["quantityPrecision"], o["underlyingType"] = s.printTick, s.printStep, "COIN"
			o["deliveryDate"], o["onboardDate"] = int64(4133404800000), int64(1569398400000)
		case market.MarketInverse:
			delete(o, "status")
			o["contractStatus"], o["pair"], o["contractType"], o["marginAsset"] = s.statusOr("TRADING"), s.base+s.quote, "PERPETUAL", s.base
			o["contractSize"] = 10
			if s.base == "BTC" {
				o["contractSize"] = 100
			}
			o["pricePrecision"], o["quantityPrecision"], o["underlyingType"] = s.printTick, s.printStep, "COIN"
			o["deliveryDate"], o["onboardDate"] = int64(4133404800000), int64(1597042800000)
		}
		list = append(list, o)
	}
	return obj{"timezone": "UTC", "serverTime": now.UnixMilli(), "exchangeFilters": []any{}, "symbols": list,
		"rateLimits": []obj{{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limit}}}
}
