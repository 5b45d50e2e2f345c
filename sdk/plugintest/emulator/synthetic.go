package emulator

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/marketprism/marketprism/sdk/market"
)

// The book of a symbol is a grid of prices, one slot a tick. The price walks
// around the middle of the grid and is drawn back to it, so it never leaves.
const (
	gridHalf = 1 << 13
	gridSize = 2 * gridHalf
)

// naming is how a dialect writes an instrument: its native symbol, the decimals
// of a price tick and of an amount step, and how many decimals are printed.
type naming struct {
	native                           string
	tick, step, printTick, printStep uint8
}

// symbol is one instrument of the synthetic market. The market's goroutine
// writes it, under Emulator.mu.
type symbol struct {
	naming
	idx         uint16
	base, quote string
	lower       string
	hidden      bool   // from the catalogue
	status      string // in the catalogue, by the venue's word; empty: traded
	day         int64  // whole units of turnover that were before the market began
	origin      int64  // price of slot 0 in ticks

	qty    []int64 // by slot; slots up to bb are bids, from ba on asks
	bb, ba int
	nb, na int // levels of each side
	seq    int64
	trade  int64
	agg    int64

	open, high, low, last int64 // ticks
	lastQty, volume       int64 // steps
	turnover              turnover
	trades                int64
	candles               []*candle
	streams               [numChannels][]*stream
	recent                [recentTrades]pastTrade // by id
	cross                 bool                    // the next update shows a bid above the best ask
	ghost                 int                     // slot of that bid while it is shown; the one after takes it away
}

// pastTrade is kept for requests of history.
type pastTrade struct {
	id, agg, price, qty, now int64
	sell                     bool
}

const recentTrades = 8192

// turnover is price times amount, summed exactly: whole units of the quote
// currency and 1e-8 parts of one.
type turnover struct{ whole, frac int64 }

const fracUnit = 100_000_000

func (t *turnover) add(price, qty int64, decimals uint8) {
	hi, lo := bits.Mul64(uint64(price), uint64(qty))
	unit := uint64(pow10[decimals])
	whole, rest := bits.Div64(hi%unit, lo, unit)
	t.whole += int64(whole)
	hi, lo = bits.Mul64(rest, fracUnit)
	f, _ := bits.Div64(hi, lo, unit)
	if t.frac += int64(f); t.frac >= fracUnit {
		t.whole, t.frac = t.whole+1, t.frac-fracUnit
	}
}

// level is one slot of a book update.
type level struct {
	slot int
	qty  int64
}

// event is one thing that happened in the market.
type event struct {
	sym   *symbol
	now   int64 // ns UTC
	trade bool

	// of a trade
	id, agg    int64
	price, qty int64 // ticks, steps
	sell       bool  // taker's side

	// of a book update
	first, last, prev int64
	bids, asks        []level
	top               bool // the best bid or ask changed, in price or amount
}

// synthetic is the market. Its random numbers come from one generator, so the
// seed fixes every event.
type synthetic struct {
	syms    []*symbol
	byName  map[string]*symbol
	rng     splitmix
	seed    uint64
	cut     uint64 // of 1<<16: below it an event is a trade
	levels  int
	futures bool // update ids have holes between updates
	single  bool // update ids have none: each is the one after the last
	clock   bool // update ids are times in microseconds
	apart   bool // each level of an update is an update of its own
	depth   int
}

// splitmix is SplitMix64.
type splitmix uint64

func (s *splitmix) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

var startPrices = map[string]float64{"BTC": 63000, "XBT": 63000, "ETH": 3400, "SOL": 150, "XRP": 0.6, "ADA": 0.45,
	"DOGE": 0.12, "BNB": 580, "LTC": 72, "LINK": 14}

func newSynthetic(o Options, name func(Options, market.Name, float64) naming) (*synthetic, error) {
	m := &synthetic{byName: map[string]*symbol{}, rng: splitmix(o.Seed), seed: o.Seed, levels: o.Levels, depth: o.Depth,
		futures: o.Market.String() != "spot", single: venues[o.Venue].single, clock: venues[o.Venue].clock}
	m.cut = uint64(o.Mix.Trades) << 16 / uint64(o.Mix.Trades+o.Mix.Depth)
	names := o.Symbols
	if len(names) == 0 {
		names = venues[o.Venue].defaults(o.Market)
	}
	for _, n := range names {
		if _, err := m.add(o, n, name); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// add adds an instrument by its canonical name.
func (m *synthetic) add(o Options, n string, name func(Options, market.Name, float64) naming) (*symbol, error) {
	parts, err := market.ParseName(n)
	if err != nil {
		return nil, fmt.Errorf("emulator: symbol %w; write it canonically, BTC-USDT or BTC-USDT-PERP", err)
	}
	price, known := startPrices[parts.Base]
	if !known {
		price = 1 + float64(Hash([]byte(parts.Base))%9000)/100
	}
	s := &symbol{naming: name(o, parts, price), idx: uint16(len(m.syms) + 1), base: parts.Base, quote: parts.Quote}
	if m.byName[s.native] != nil {
		return nil, fmt.Errorf("emulator: symbol %q stands twice", n)
	}
	s.lower = strings.ToLower(s.native)
	s.origin = int64(price*float64(pow10[s.tick])+0.5) - gridHalf
	if s.origin <= 0 {
		return nil, fmt.Errorf("emulator: symbol %q: a start price of %v leaves no room for a book at %d decimals", n, price, s.tick)
	}
	s.fill(o.Seed, o.Depth, o.FirstID)
	m.syms, m.byName[s.native] = append(m.syms, s), s
	return s, nil
}

// fill sets the book's first state, which depends on the seed and the name alone.
func (s *symbol) fill(seed uint64, depth int, firstID int64) {
	rng := splitmix(seed ^ Hash([]byte(s.native)))
	s.qty = make([]int64, gridSize)
	s.bb, s.ba = gridHalf-1, gridHalf
	s.nb, s.na = 0, 0
	for i := 0; s.nb < depth; i++ {
		if r := rng.next(); i == 0 || r&1 == 0 {
			s.qty[s.bb-i] = s.amount(r >> 8)
			s.nb++
		}
		if r := rng.next(); i == 0 || (r&1 == 0 && s.na < depth) {
			s.qty[s.ba+i] = s.amount(r >> 8)
			s.na++
		}
	}
	s.seq = firstID + 1_000_000 + int64(rng.next()>>44)
	s.trade = firstID + 1_000_000 + int64(rng.next()>>44)
	s.agg = s.trade / 2
	s.last = s.price(s.bb)
	s.open, s.high, s.low = s.last, s.last, s.last
}

// first gives the book as it was at the start: an old snapshot.
func (s *symbol) first(seed uint64, depth int, firstID int64) *symbol {
	old := &symbol{naming: s.naming, base: s.base, quote: s.quote, lower: s.lower, origin: s.origin, idx: s.idx}
	old.fill(seed, depth, firstID)
	return old
}

func (s *symbol) price(slot int) int64 { return s.origin + int64(slot) }

// amount makes an amount of at least one step, small ones often.
func (s *symbol) amount(r uint64) int64 {
	unit := pow10[max(s.step, 3)-3]
	return 1 + int64(r&(63<<(r>>61)))*unit + int64(r>>32&0xff)
}

func (m *synthetic) names() []string {
	var ns []string
	for _, s := range m.syms {
		ns = append(ns, s.native)
	}
	return ns
}

// next makes one event. Its level slices are reused by the next call.
func (m *synthetic) next(ev *event) {
	r := m.rng.next()
	s := m.syms[(r>>32)*uint64(len(m.syms))>>32]
	ev.sym = s
	if r&0xffff < m.cut {
		m.makeTrade(ev, s)
	} else {
		m.makeUpdate(ev, s)
	}
}

// makeTrade trades at the touch. The book is left as it is: its changes come
// from updates alone.
func (m *synthetic) makeTrade(ev *event, s *symbol) {
	r := m.rng.next()
	ev.trade, ev.sell = true, r&1 == 0
	if ev.sell {
		ev.price = s.price(s.bb)
	} else {
		ev.price = s.price(s.ba)
	}
	s.trade++
	s.agg++
	s.trades++
	ev.id, ev.agg, ev.qty = s.trade, s.agg, s.amount(r>>1)
	s.last, s.lastQty = ev.price, ev.qty
	s.high, s.low = max(s.high, ev.price), min(s.low, ev.price)
	s.volume += ev.qty
	s.turnover.add(ev.price, ev.qty, s.tick+s.step)
	s.recent[ev.id%recentTrades] = pastTrade{ev.id, ev.agg, ev.price, ev.qty, ev.now, ev.sell}
	for _, c := range s.candles {
		c.add(ev)
	}
}

// makeUpdate changes up to m.levels levels: sometimes the touch moves, the rest
// lie near it often and far from it seldom.
func (m *synthetic) makeUpdate(ev *event, s *symbol) {
	ev.trade, ev.bids, ev.asks = false, ev.bids[:0], ev.asks[:0]
	bb, ba, qb, qa := s.bb, s.ba, s.qty[s.bb], s.qty[s.ba]
	if r := m.rng.next(); r&3 == 0 && m.levels >= 2 {
		m.move(ev, s, r>>2)
	}
	for try := 0; len(ev.bids)+len(ev.asks) < m.levels && try < 4*m.levels; try++ {
		r := m.rng.next()
		k := min(bits.TrailingZeros64(r>>1), 8)
		off := int(r >> 32 & (8<<k - 1))
		if bid := r&1 == 0; bid {
			m.touch(&ev.bids, s, s.bb-off, off, &s.nb)
		} else {
			m.touch(&ev.asks, s, s.ba+off, off, &s.na)
		}
	}
	s.haunt(ev)
	sortLevels(ev.bids, -1)
	sortLevels(ev.asks, 1)
	ev.prev, ev.first = s.seq, s.seq+1
	if m.futures {
		ev.first += int64(m.rng.next() & 31)
	}
	ev.last = ev.first + int64(max(len(ev.bids)+len(ev.asks), 1)) - 1
	if m.single {
		ev.first = ev.prev + 1
		ev.last = ev.first
	}
	if m.clock {
		ev.first = max(ev.now/1_000, ev.prev+1)
		ev.last = ev.first
	}
	s.seq = ev.last
	ev.top = bb != s.bb || ba != s.ba || qb != s.qty[s.bb] || qa != s.qty[s.ba]
}

// haunt puts the ghost bid of an injected fault into an update, or takes it away.
func (s *symbol) haunt(ev *event) {
	slot, q := s.ghost, int64(0)
	switch {
	case s.ghost != 0:
		if s.ghost = 0; slot <= s.bb {
			q = s.qty[slot]
		}
	case s.cross:
		s.cross, s.ghost = false, s.ba+1
		slot, q = s.ghost, 1
	default:
		return
	}
	for _, l := range ev.bids {
		if l.slot == slot {
			return
		}
	}
	ev.bids = append(ev.bids, level{slot, q})
}

// move shifts the touch by a tick, towards the middle of the grid more often.
func (m *synthetic) move(ev *event, s *symbol, r uint64) {
	drift := max(-256, min(256, (s.bb-gridHalf)/8))
	up, tight := int(r&1023) < 512-drift, s.ba-s.bb <= 2
	if up {
		if tight && s.na > 20 {
			s.qty[s.ba] = 0
			s.na--
			ev.asks = append(ev.asks, level{s.ba, 0})
			for s.qty[s.ba] == 0 {
				s.ba++
			}
		}
		if s.bb+1 < s.ba {
			s.bb++
			s.qty[s.bb] = s.amount(r >> 10)
			s.nb++
			ev.bids = append(ev.bids, level{s.bb, s.qty[s.bb]})
		}
		return
	}
	if tight && s.nb > 20 {
		s.qty[s.bb] = 0
		s.nb--
		ev.bids = append(ev.bids, level{s.bb, 0})
		for s.qty[s.bb] == 0 {
			s.bb--
		}
	}
	if s.ba-1 > s.bb {
		s.ba--
		s.qty[s.ba] = s.amount(r >> 10)
		s.na++
		ev.asks = append(ev.asks, level{s.ba, s.qty[s.ba]})
	}
}

// touch changes one slot that this update has not changed yet.
func (m *synthetic) touch(ls *[]level, s *symbol, slot, off int, n *int) {
	for _, l := range *ls {
		if l.slot == slot {
			return
		}
	}
	r := m.rng.next()
	q := s.amount(r >> 1)
	switch old := s.qty[slot]; {
	case old == 0:
		*n++
	case off > 0 && r&1 == 0 && *n > 20:
		q = 0
		*n--
	case q == old:
		q++
	}
	s.qty[slot] = q
	*ls = append(*ls, level{slot, q})
}

func sortLevels(ls []level, dir int) {
	for i := 1; i < len(ls); i++ {
		for j := i; j > 0 && (ls[j].slot-ls[j-1].slot)*dir < 0; j-- {
			ls[j], ls[j-1] = ls[j-1], ls[j]
		}
	}
}

// bids calls f for the best n levels, best first (0: all).
func (s *symbol) bids(n int, f func(slot int, qty int64)) {
	if n <= 0 {
		n = gridSize
	}
	for i := s.bb; i >= 0 && n > 0; i-- {
		if q := s.qty[i]; q != 0 {
			f(i, q)
			n--
		}
	}
}

// asks is like bids.
func (s *symbol) asks(n int, f func(slot int, qty int64)) {
	if n <= 0 {
		n = gridSize
	}
	for i := s.ba; i < gridSize && n > 0; i++ {
		if q := s.qty[i]; q != 0 {
			f(i, q)
			n--
		}
	}
}

// candle is one interval of one symbol, kept while somebody is subscribed.
type candle struct {
	name                   string
	every                  int64 // ns
	start                  int64 // ns
	open, high, low, close int64
	volume, buy            int64
	turnover, buyTurnover  turnover
	trades, firstID        int64
	closed                 *candle // the interval before, until it was sent
	decimals               uint8
}

func (c *candle) roll(now, last int64) {
	start := now - now%c.every
	if start == c.start {
		return
	}
	if c.start != 0 {
		old := *c
		c.closed = &old
	}
	*c = candle{name: c.name, every: c.every, decimals: c.decimals, closed: c.closed, start: start, open: last, high: last, low: last, close: last}
}

func (c *candle) add(ev *event) {
	c.roll(ev.now, ev.price)
	if c.trades == 0 {
		c.open, c.high, c.low, c.firstID = ev.price, ev.price, ev.price, ev.id
	}
	c.trades++
	c.high, c.low, c.close = max(c.high, ev.price), min(c.low, ev.price), ev.price
	c.volume += ev.qty
	c.turnover.add(ev.price, ev.qty, c.decimals)
	if !ev.sell {
		c.buy += ev.qty
		c.buyTurnover.add(ev.price, ev.qty, c.decimals)
	}
}
