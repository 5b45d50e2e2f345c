package emulator

import (
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism/sdk/market"
)

var okxIntervals = map[string]time.Duration{"1s": time.Second, "1m": time.Minute, "3m": 3 * time.Minute, "5m": 5 * time.Minute,
	"15m": 15 * time.Minute, "30m": 30 * time.Minute, "1H": time.Hour, "2H": 2 * time.Hour, "4H": 4 * time.Hour,
	"6Hutc": 6 * time.Hour, "12Hutc": 12 * time.Hour, "1Dutc": 24 * time.Hour, "2Dutc": 48 * time.Hour, "3Dutc": 72 * time.Hour,
	"5Dutc": 120 * time.Hour, "1Wutc": 168 * time.Hour, "1Mutc": 720 * time.Hour, "3Mutc": 2160 * time.Hour}

// types are the products that the emulated market is made of.
func (d *okx) types() []string {
	switch d.market {
	case market.MarketSpot:
		return []string{"SPOT"}
	case market.MarketOption:
		return []string{"OPTION"}
	}
	return []string{"SWAP", "FUTURES"}
}

// product is that of a symbol.
func (d *okx) product(s *symbol) string {
	types := d.types()
	if len(types) == 2 && !strings.HasSuffix(s.native, "-SWAP") {
		return types[1]
	}
	return types[0]
}

// members are the symbols that a stream of a family or product shows.
func (d *okx) members(st *stream) (all []*symbol) {
	for _, s := range d.e.mkt.syms {
		if st.state == s.base+"-"+s.quote || st.state == d.product(s) {
			all = append(all, s)
		}
	}
	return all
}

// stream says what a channel shows, or why there is none.
func (d *okx) stream(c *Conn, a *okxArg) (prepare func(*stream), why string) {
	s := d.e.mkt.byName[a.ID]
	kind, depth, business := ChannelMarkPrice, 0, false
	contract := d.market != market.MarketSpot
	swap := d.market == market.MarketLinear || d.market == market.MarketInverse
	ok := s != nil
	switch native, candles := strings.CutPrefix(a.Channel, "candle"); {
	case candles:
		kind, business = ChannelCandles, true
		ok = ok && okxIntervals[native] > 0
	case a.Channel == "trades-all":
		kind, business = ChannelTrades, true
	case a.Channel == "trades":
		kind = ChannelAggTrades
	case a.Channel == "books", a.Channel == "books-l2-tbt", a.Channel == "books50-l2-tbt":
		kind = ChannelBook
	case a.Channel == "books5":
		kind, depth = ChannelBook, 5
	case a.Channel == "bbo-tbt":
		kind = ChannelBBO
	case a.Channel == "tickers":
		kind = ChannelTicker
	case a.Channel == "mark-price":
	case a.Channel == "funding-rate":
		ok = ok && swap
	case a.Channel == "open-interest":
		ok = ok && contract
	case a.Channel == "index-tickers":
		i := slices.IndexFunc(d.e.mkt.syms, func(s *symbol) bool { return s.base+"-"+s.quote == a.ID })
		if ok = i >= 0; ok {
			s = d.e.mkt.syms[i]
		}
	case a.Channel == "opt-summary":
		ok = d.market == market.MarketOption && a.Family != ""
	case a.Channel == "liquidation-orders":
		kind, ok = ChannelLiquidations, contract && slices.Contains(d.types(), a.Type)
	default:
		ok = false
	}
	if !ok || business != strings.HasSuffix(c.path, "/business") {
		return nil, "Wrong URL or channel:" + a.Channel + ",instId:" + a.ID + " doesn't exist. Please use the correct URL, channel and parameters referring to API document."
	}
	return func(st *stream) {
		st.kind, st.sym, st.depth, st.arg = kind, s, depth, a.Channel
		switch {
		case a.Family != "":
			st.state = a.Family
		case a.Type != "":
			st.state = a.Type
		case kind == ChannelCandles:
			native := a.Channel[len("candle"):]
			cd := &candle{name: native, every: int64(okxIntervals[native]), decimals: s.tick + s.step}
			cd.roll(time.Now().UnixNano(), s.last)
			st.state, s.candles = cd, append(s.candles, cd)
		}
	}, ""
}

// head begins a frame of a stream.
func (st *stream) okxHead(b []byte) []byte {
	b = append(append(append(b, `{"arg":{"channel":"`...), st.arg...), '"')
	channel, id, _ := strings.Cut(st.name, "|")
	switch channel {
	case "opt-summary":
		b = append(append(b, `,"instFamily":"`...), id...)
	case "liquidation-orders":
		b = append(append(b, `,"instType":"`...), id...)
	default:
		b = append(append(b, `,"instId":"`...), id...)
	}
	return append(b, `"}`...)
}

func appendMillis(b []byte, key string, ns int64) []byte {
	return append(appendInt(append(append(b, key...), '"'), ns/1_000_000), '"')
}

func (s *symbol) appendOKX(b []byte, key string, price bool, v int64) []byte {
	b = append(append(b, key...), '"')
	if price {
		b = s.appendTicks(b, v)
	} else {
		b = s.appendQty(b, v)
	}
	return append(b, '"')
}

func (d *okx) render(b []byte, st *stream, _ uint8, ev *event) []byte {
	s := st.sym
	b = append(st.okxHead(b), ',')
	switch st.kind {
	case ChannelTrades, ChannelAggTrades:
		b = s.appendOKXTrade(append(b, `"data":[`...), pastTrade{ev.id, 0, ev.price, ev.qty, ev.now, ev.sell})
		if st.kind == ChannelAggTrades {
			b = appendInt(append(b[:len(b)-1], `,"count":"1","seqId":`...), s.seq)
			b = append(b, '}')
		}
	case ChannelBook:
		if st.depth > 0 {
			b = d.book(append(b, `"data":[{`...), s, st.depth)
			b = append(append(append(b, `],"instId":"`...), s.native...), '"')
		} else {
			b = s.appendOKXLevels(append(b, `"action":"update","data":[{"asks":[`...), ev.asks)
			b = append(s.appendOKXLevels(append(b, `],"bids":[`...), ev.bids), ']')
			b = appendInt(append(b, `,"checksum":0,"prevSeqId":`...), ev.prev)
		}
		b = appendMillis(b, `,"ts":`, ev.now)
		b = append(appendInt(append(b, `,"seqId":`...), s.seq), '}')
	case ChannelBBO:
		b = append(d.book(append(b, `"data":[{`...), s, 1), ']')
		b = appendMillis(b, `,"ts":`, ev.now)
		b = append(appendInt(append(b, `,"seqId":`...), s.seq), '}')
	}
	return append(b, `]}`...)
}

func (s *symbol) appendOKXTrade(b []byte, t pastTrade) []byte {
	b = append(append(append(b, `{"instId":"`...), s.native...), `","tradeId":"`...)
	b = s.appendOKX(appendInt(b, t.id), `","px":`, true, t.price)
	b = s.appendOKX(b, `,"sz":`, false, t.qty)
	side := "buy"
	if t.sell {
		side = "sell"
	}
	b = append(append(append(b, `,"side":"`...), side...), '"')
	return append(appendMillis(b, `,"ts":`, t.now), `,"source":"0"}`...)
}

func (s *symbol) appendOKXLevels(b []byte, ls []level) []byte {
	for i, l := range ls {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(s.appendPrice(append(b, `["`...), l.slot), `","`...)
		b = append(s.appendQty(b, l.qty), `","0","1"]`...)
	}
	return b
}

// book writes both sides to n levels (0: all), a ghost bid included; the caller
// closes the last list.
func (d *okx) book(b []byte, s *symbol, n int) []byte {
	var bids, asks []level
	if s.ghost != 0 {
		bids = append(bids, level{s.ghost, 1})
	}
	s.bids(n, func(i int, q int64) {
		if i != s.ghost {
			bids = append(bids, level{i, q})
		}
	})
	s.asks(n, func(i int, q int64) { asks = append(asks, level{i, q}) })
	if n > 0 {
		bids = bids[:min(n, len(bids))]
	}
	b = s.appendOKXLevels(append(b, `"asks":[`...), asks)
	return s.appendOKXLevels(append(b, `],"bids":[`...), bids)
}

// first is what the venue sends on subscribing.
func (d *okx) first(st *stream, now time.Time) []byte {
	s, t := st.sym, now.UnixNano()
	switch st.kind {
	case ChannelTrades, ChannelAggTrades, ChannelLiquidations:
		return nil
	case ChannelBook:
		b := append(st.okxHead(nil), ',')
		if st.depth > 0 {
			b = append(append(append(d.book(append(b, `"data":[{`...), s, st.depth), `],"instId":"`...), s.native...), '"')
		} else {
			b = append(d.book(append(b, `"action":"snapshot","data":[{`...), s, 0), `],"checksum":0,"prevSeqId":-1`...)
		}
		b = appendMillis(b, `,"ts":`, t)
		return append(appendInt(append(b, `,"seqId":`...), s.seq), `}]}`...)
	case ChannelBBO:
		return d.render(nil, st, 0, &event{sym: s, now: t, last: s.seq})
	}
	if st.sym == nil && len(d.members(st)) == 0 {
		return nil
	}
	return d.timed(nil, st, now, false)
}

// timed writes what is sent by the clock.
func (d *okx) timed(b []byte, st *stream, now time.Time, closed bool) []byte {
	s, t := st.sym, now.UnixNano()
	b = append(st.okxHead(b), `,"data":[`...)
	switch st.arg {
	case "tickers":
		b = d.ticker(b, s, t)
	case "mark-price":
		b = s.appendOKX(d.named(b, s), `,"markPx":`, true, s.last)
		b = append(appendMillis(b, `,"ts":`, t), '}')
	case "index-tickers":
		b = append(append(append(append(append(b, `{"instId":"`...), s.base...), '-'), s.quote...), '"')
		b = s.appendOKX(b, `,"idxPx":`, true, s.last-1)
		b = append(appendMillis(b, `,"ts":`, t), '}')
	case "funding-rate":
		next := t - t%int64(8*time.Hour) + int64(8*time.Hour)
		b = append(d.named(b, s), `,"method":"current_period","fundingRate":"0.0001","nextFundingRate":""`...)
		b = appendMillis(b, `,"fundingTime":`, next)
		b = appendMillis(b, `,"nextFundingTime":`, next+int64(8*time.Hour))
		b = append(appendMillis(b, `,"ts":`, t), '}')
	case "open-interest":
		b = append(d.named(b, s), `,"oi":"20000","oiCcy":"200","oiUsd":"2000000"`...)
		b = append(appendMillis(b, `,"ts":`, t), '}')
	case "opt-summary":
		for _, s := range d.members(st) {
			b = append(append(append(append(append(d.named(b, s), `,"uly":"`...), s.base...), '-'), s.quote...), '"')
			b = append(b, `,"delta":"0.74","gamma":"-0.67","theta":"-0.00008","vega":"0.000007","deltaBS":"0.75","gammaBS":"0.00002","thetaBS":"-25.1","vegaBS":"61.2","realVol":"","bidVol":"","askVol":"0.56","markVol":"0.55","lever":"4.0"`...)
			b = s.appendOKX(b, `,"fwdPx":`, true, s.last)
			b = append(appendMillis(b, `,"ts":`, t), `},`...)
		}
		b = b[:len(b)-1] // the last comma
	case "liquidation-orders":
		for _, s := range d.members(st) {
			b = append(d.named(b, s), `,"details":[{"bkLoss":"0","ccy":"","posSide":"short","side":"buy"`...)
			b = s.appendOKX(b, `,"bkPx":`, true, s.last)
			b = s.appendOKX(b, `,"sz":`, false, s.lastQty+1)
			b = append(appendMillis(b, `,"ts":`, t), `}]},`...)
		}
		b = b[:len(b)-1]
	default:
		cd := st.state.(*candle)
		if closed {
			cd = cd.closed
		}
		b = d.candle(b, s, cd, closed)
	}
	return append(b, `]}`...)
}

// named begins an object with product and symbol.
func (d *okx) named(b []byte, s *symbol) []byte {
	b = append(append(b, `{"instType":"`...), d.product(s)...)
	return append(append(append(b, `","instId":"`...), s.native...), '"')
}

func (d *okx) ticker(b []byte, s *symbol, t int64) []byte {
	b = d.named(b, s)
	b = s.appendOKX(s.appendOKX(b, `,"last":`, true, s.last), `,"lastSz":`, false, s.lastQty)
	b = s.appendOKX(s.appendOKX(b, `,"askPx":`, true, s.price(s.ba)), `,"askSz":`, false, s.qty[s.ba])
	b = s.appendOKX(s.appendOKX(b, `,"bidPx":`, true, s.price(s.bb)), `,"bidSz":`, false, s.qty[s.bb])
	b = s.appendOKX(s.appendOKX(s.appendOKX(b, `,"open24h":`, true, s.open), `,"high24h":`, true, s.high), `,"low24h":`, true, s.low)
	b = quoted(s.appendOKX(b, `,"vol24h":`, false, s.volume), `,"volCcy24h":`, s.turnover.append)
	return append(appendMillis(b, `,"ts":`, t), '}')
}

func (d *okx) candle(b []byte, s *symbol, c *candle, closed bool) []byte {
	b = appendMillis(append(b, '['), "", c.start)
	for _, p := range []int64{c.open, c.high, c.low, c.close} {
		b = s.appendOKX(b, ",", true, p)
	}
	b = quoted(quoted(s.appendOKX(b, ",", false, c.volume), ",", c.turnover.append), ",", c.turnover.append)
	if closed {
		return append(b, `,"1"]`...)
	}
	return append(b, `,"0"]`...)
}

// tick sends what is due by the clock: most channels each second, open interest
// each third, funding rates each thirtieth.
func (d *okx) tick(now time.Time) {
	for _, st := range d.e.streams {
		every := time.Second
		switch st.arg {
		case "funding-rate":
			every = 30 * time.Second
		case "open-interest":
			every = 3 * time.Second
		case "liquidation-orders", "opt-summary":
			if len(d.members(st)) == 0 {
				continue
			}
		}
		cd, candles := st.state.(*candle)
		switch {
		case st.kind == ChannelTrades || st.kind == ChannelAggTrades || st.kind == ChannelBook || st.kind == ChannelBBO:
			continue
		case candles && cd.closed != nil:
		case now.UnixNano()-st.sent < int64(every):
			continue
		}
		st.sent = now.UnixNano()
		frames := [][]byte{d.timed(nil, st, now, false)}
		if candles && cd.closed != nil {
			frames = [][]byte{d.timed(nil, st, now, true), frames[0]}
			cd.closed = nil
		}
		f := d.e.faultFor(st)
		for _, c := range st.subs[0] {
			for _, p := range frames {
				if f != nil {
					d.e.mangle(f, st.about(), c, now.UnixNano(), p)
				} else {
					c.frame(now.UnixNano(), st.about(), 0, p)
				}
			}
			d.e.touch(c)
		}
	}
}
