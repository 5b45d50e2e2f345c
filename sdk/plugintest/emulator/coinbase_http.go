package emulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

// http answers the public endpoints that a collector uses: Advanced Trade's
// products and the Exchange's past trades.
func (d *coinbase) http(w http.ResponseWriter, r *http.Request) {
	d.e.mu.Lock()
	body := d.answer(r)
	d.e.mu.Unlock()
	if body == nil {
		d.e.reply(w, r, http.StatusNotFound, []byte(`{"error":"NOT_FOUND","error_details":"valid product_id is required","message":"valid product_id is required"}`))
		return
	}
	b, _ := json.Marshal(body) // texts and numbers always marshal
	d.e.reply(w, r, http.StatusOK, b)
}

func (d *coinbase) answer(r *http.Request) any {
	q := r.URL.Query()
	if rest, ok := strings.CutPrefix(r.URL.Path, "/api/v3/brokerage/market/products"); ok {
		if rest == "" {
			list := []obj{}
			for _, s := range d.e.mkt.listed() {
				if id := q.Get("product_ids"); (id == "" || id == s.native) && (q.Get("product_type") == "FUTURE") == (d.market == market.MarketLinear) {
					list = append(list, d.listing(s))
				}
			}
			return obj{"products": list, "num_products": len(list)}
		}
		if s := d.e.mkt.byName[rest[1:]]; s != nil {
			return d.listing(s)
		}
		return nil
	}
	id, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/products/"), "/trades")
	s := d.e.mkt.byName[id]
	if !ok || s == nil {
		return nil
	}
	limit, _ := strconv.Atoi(q.Get("limit"))
	if limit <= 0 || limit > 1000 {
		limit = 1000
	}
	after, err := strconv.ParseInt(q.Get("after"), 10, 64)
	if err != nil {
		after = s.trade + 1
	}
	list := []json.RawMessage{}
	for _, t := range s.past(recentTrades) {
		if t.id < after && len(list) < limit {
			list = append(list, s.appendMarketTrade(nil, t))
		}
	}
	return list
}

func (d *coinbase) listing(s *symbol) obj {
	o := obj{"product_id": s.native, "price": string(s.appendTicks(nil, s.last)), "base_currency_id": s.base, "quote_currency_id": s.quote,
		"base_increment": string(appendFixed(nil, 1, s.step, s.printStep)), "quote_increment": string(appendFixed(nil, 1, s.tick, s.printTick)),
		"price_increment": string(appendFixed(nil, 1, s.tick, s.printTick)), "product_type": "SPOT", "product_venue": "CBE", "status": "online",
		"is_disabled": false, "trading_disabled": false, "cancel_only": false, "view_only": false, "future_product_details": nil}
	if d.market != market.MarketLinear {
		return o
	}
	o["product_type"], o["status"], o["base_currency_id"] = "FUTURE", "", ""
	next := time.Now().UTC().Truncate(time.Hour).Add(time.Hour).Format(time.RFC3339)
	details := obj{"contract_size": "1", "contract_expiry": nil, "contract_expiry_type": "PERPETUAL", "venue": "neptune", "funding_interval": "3600s",
		"perpetual_details": obj{"open_interest": "1906.8019", "funding_rate": "0.000004", "funding_time": next, "max_leverage": "10"}}
	o["product_venue"] = "INTX"
	if strings.HasSuffix(s.native, "-CDE") {
		o["product_venue"] = "FCM"
		details = obj{"contract_size": "0.01", "contract_expiry": "2030-12-20T16:00:00Z", "contract_expiry_type": "EXPIRING", "perpetual_details": obj{},
			"funding_rate": "", "funding_time": nil, "open_interest": "220738"}
	}
	o["future_product_details"] = details
	return o
}
