package emulator

import (
	"encoding/binary"
	"net/http"
)

// BinanceKey is what the SBE streams want to be shown, in a header: who shows
// a key asks for these, as on an address of their own. There is no secret.
const BinanceKey = "emulated-key"

func init() { users["binance"] = User{Key: BinanceKey} }

const binanceKeyHeader = "X-MBX-APIKEY"

// admits refuses a key that isn't the user's.
func (d *binance) admits(w http.ResponseWriter, r *http.Request) bool {
	if k := r.Header.Get(binanceKeyHeader); k == "" || k == BinanceKey {
		return true
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte(`{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}`))
	return false
}

// sbeStream finds the channel of one of the SBE streams.
func sbeStream(what string) (kind Channel, depth int, ok bool) {
	switch what {
	case "trade":
		return ChannelTrades, 0, true
	case "bestBidAsk":
		return ChannelBBO, 0, true
	case "depth":
		return ChannelBook, 0, true
	case "depth20":
		return ChannelBook, 20, true
	}
	return ChannelNone, 0, false
}

// sbe renders an event by the schema of the market data streams, 1:0
// (sbe/schemas/stream_1_0.xml).
func (d *binance) sbe(b []byte, st *stream, ev *event) []byte {
	s, us := st.sym, uint64(ev.now/1000)
	le := binary.LittleEndian
	head := func(length, template uint16) {
		b = le.AppendUint16(le.AppendUint16(b, length), template)
		b = le.AppendUint16(le.AppendUint16(b, 1), 0)
	}
	exponents := func() { b = append(b, byte(-int8(s.tick)), byte(-int8(s.step))) }
	num := func(ns ...int64) {
		for _, n := range ns {
			b = le.AppendUint64(b, uint64(n))
		}
	}
	levels := func(ls []level) {
		b = le.AppendUint16(le.AppendUint16(b, 16), uint16(len(ls)))
		for _, l := range ls {
			num(s.price(l.slot), l.qty)
		}
	}
	switch {
	case st.kind == ChannelTrades:
		head(18, 10000)
		b = le.AppendUint64(le.AppendUint64(b, us), us)
		exponents()
		b = le.AppendUint32(le.AppendUint16(b, 25), 1)
		num(ev.id, ev.price, ev.qty)
		maker := byte(0)
		if ev.sell {
			maker = 1
		}
		b = append(b, maker)
	case st.kind == ChannelBBO:
		head(50, 10001)
		b = le.AppendUint64(b, us)
		num(ev.last)
		exponents()
		num(s.price(s.bb), s.qty[s.bb], s.price(s.ba), s.qty[s.ba])
	case st.depth > 0:
		head(18, 10002)
		b = le.AppendUint64(b, us)
		num(s.seq)
		exponents()
		var bids, asks []level
		s.bids(st.depth, func(slot int, q int64) { bids = append(bids, level{slot, q}) })
		s.asks(st.depth, func(slot int, q int64) { asks = append(asks, level{slot, q}) })
		levels(bids)
		levels(asks)
	default:
		head(26, 10003)
		b = le.AppendUint64(b, us)
		num(ev.first, ev.last)
		exponents()
		levels(ev.bids)
		levels(ev.asks)
	}
	return append(append(b, byte(len(s.native))), s.native...)
}
