package emulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// http answers the public requests that a collector uses.
func (d *kucoin) http(w http.ResponseWriter, r *http.Request) {
	weight := 3
	if d.opens(r.URL.Path) {
		weight = 10
	}
	if _, ok := d.e.weigh(weight); !ok {
		w.Header().Set("gw-ratelimit-reset", "30000")
		d.e.reply(w, r, http.StatusTooManyRequests, []byte(`{"code":"429000","msg":"too many requests"}`))
		return
	}
	d.e.mu.Lock()
	data, why := d.request(r)
	d.e.mu.Unlock()
	o := obj{"code": "200000", "data": data}
	if why != "" {
		o = obj{"code": "400100", "msg": why}
	}
	b, _ := json.Marshal(o)
	d.e.reply(w, r, http.StatusOK, b)
}

func (d *kucoin) request(r *http.Request) (data any, why string) {
	spot := d.market == market.MarketSpot
	path, symbol := r.URL.Path, r.URL.Query().Get("symbol")
	switch {
	case d.opens(path):
		if r.Method != http.MethodPost {
			return nil, "Method Not Allowed"
		}
		return d.grant(), ""
	case spot && strings.HasSuffix(path, "/symbols"), !spot && path == "/api/v1/contracts/active":
		all := []obj{}
		for _, s := range d.e.mkt.listed() {
			all = append(all, d.listing(s))
		}
		return all, ""
	}
	s := d.e.mkt.byName[symbol]
	if s == nil {
		return nil, "symbol not exists"
	}
	switch {
	case spot && path == "/api/v1/market/histories", !spot && path == "/api/v1/trade/history":
		all := []json.RawMessage{}
		for id := max(s.trade-99, 1); id <= s.trade; id++ {
			if t := s.recent[id%recentTrades]; t.id == id {
				all = append(all, d.trade(nil, s, t))
			}
		}
		return all, ""
	case spot && path == "/api/v1/market/orderbook/level2_100", !spot && path == "/api/v1/level2/snapshot":
		n, quote := 0, ""
		if spot {
			n, quote = 100, `"`
		}
		bids, asks := d.sides(s, n)
		b := append(append(append([]byte(`{"symbol":"`), s.native...), `","sequence":"`...), fmt.Sprint(s.seq)...)
		b = s.appendKucoinLevels(append(b, `","bids":[`...), bids, quote)
		b = s.appendKucoinLevels(append(b, `],"asks":[`...), asks, quote)
		return json.RawMessage(append(appendInt(append(b, `],"time":`...), time.Now().UnixMilli()), '}')), ""
	}
	return nil, "no such request"
}

// grant gives a token, with characters that an address has to escape, and the
// venue's server: who was told to connect here does so all the same.
func (d *kucoin) grant() obj {
	token := fmt.Sprintf("emulated+token/%d_%016x==.%x==", len(d.tokens)+1, Hash(fmt.Append(nil, d.e.opt.Seed, len(d.tokens))), time.Now().UnixNano())
	d.tokens[token] = true
	product := "spot"
	if d.market != market.MarketSpot {
		product = "futures"
	}
	return obj{"token": token, "instanceServers": []obj{{"endpoint": "wss://ws-api-" + product + ".kucoin.com/", "encrypt": true,
		"protocol": "websocket", "pingInterval": 18000, "pingTimeout": 10000}}}
}

func (d *kucoin) listing(s *symbol) obj {
	tick := string(appendFixed(nil, 1, s.tick, s.printTick))
	step := string(appendFixed(nil, 1, s.step, s.printStep))
	if d.market == market.MarketSpot {
		return obj{"symbol": s.native, "name": s.native, "baseCurrency": s.base, "quoteCurrency": s.quote, "market": "USDS",
			"baseIncrement": step, "quoteIncrement": "0.000001", "priceIncrement": tick, "enableTrading": true}
	}
	o := obj{"symbol": s.native, "type": "FFWCSX", "baseCurrency": s.base, "quoteCurrency": s.quote, "settleCurrency": s.quote, "status": "Open",
		"expireDate": nil, "lotSize": 1, "tickSize": json.RawMessage(tick), "multiplier": json.RawMessage("0.001"), "isInverse": false, "openInterest": "20000"}
	if d.market == market.MarketInverse {
		o["settleCurrency"], o["multiplier"], o["isInverse"] = s.base, json.RawMessage("-1.0"), true
	}
	return o
}
