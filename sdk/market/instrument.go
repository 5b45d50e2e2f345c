package market

// Instrument identifies what a record is about. Venue, market and symbol
// together name it; nothing shorter does. The runtime writes this table into
// each journal segment, so readers resolve an InstrumentID without asking anyone.
type Instrument struct {
	ID           InstrumentID `json:"id"`
	Venue        string       `json:"venue"`
	Market       Market       `json:"market"`
	Symbol       string       `json:"symbol"`               // the venue's own, as on the wire
	Name         string       `json:"instrument,omitempty"` // canonical, BASE-QUOTE[:SETTLE][-PERP|-YYYYMMDD[-STRIKE-C|P]]
	AmountUnit   Unit         `json:"amount_unit,omitempty"`
	ContractSize Decimal      `json:"contract_size,omitzero"` // of one contract, in base (linear) or quote (inverse) currency
	Precision    Precision    `json:"precision,omitzero"`
}

// Precision is the number of places that the venue prints prices and amounts
// with, where a checksum needs it; Known is false until the venue told it.
type Precision struct {
	Known  bool  `json:"known,omitempty"`
	Price  uint8 `json:"price,omitempty"`
	Amount uint8 `json:"amount,omitempty"`
}

const (
	fnvOffset = 0xcbf29ce484222325
	fnvPrime  = 0x100000001b3
)

// KeySeed starts the keys of an instrument's records. It depends on names
// alone, so that every host gives the same fact the same key.
func KeySeed(venue string, m Market, symbol string) uint64 {
	h := uint64(fnvOffset)
	for i := 0; i < len(venue); i++ {
		h = (h ^ uint64(venue[i])) * fnvPrime
	}
	h = (h ^ 0xff ^ uint64(m)) * fnvPrime
	for i := 0; i < len(symbol); i++ {
		h = (h ^ uint64(symbol[i])) * fnvPrime
	}
	return h
}

// KeyID mixes a kind and the exchange's id into a seed, eight bytes at a time.
func KeyID(seed uint64, k Kind, id []byte) uint64 {
	h := (seed ^ uint64(k)) * fnvPrime
	n := uint64(len(id))
	for ; len(id) >= 8; id = id[8:] {
		h = (h ^ le.Uint64(id)) * keyMix
		h ^= h >> 29
	}
	var rest uint64
	for i, c := range id {
		rest |= uint64(c) << (8 * i)
	}
	h = (h ^ rest ^ n<<56) * keyMix
	return finalise(h)
}

const keyMix = 0x9e3779b97f4a7c15 // 2^64 over the golden ratio

// KeySeq mixes a kind and a number (a sequence, a time) into a seed.
func KeySeq(seed uint64, k Kind, n int64) uint64 {
	return finalise(((seed ^ uint64(k)) * fnvPrime) ^ uint64(n)*keyMix)
}

// finalise spreads the bits (the finalizer of MurmurHash3).
func finalise(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
