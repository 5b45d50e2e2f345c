package market

import (
	"fmt"
	"slices"
)

// enum is a small closed set of names, index = value.
type enum []string

func (e enum) name(i int) string {
	if i >= 0 && i < len(e) {
		return e[i]
	}
	return fmt.Sprintf("unknown(%d)", i)
}

func (e enum) parse(what, s string) (int, error) {
	for i, n := range e {
		if n == s && n != "" {
			return i, nil
		}
	}
	return 0, fmt.Errorf("market: %q is no %s; there are %v", s, what, []string(e))
}

// Kind says what a record states.
type Kind uint8

// The kinds of record. Values are part of the layout.
const (
	KindInvalid Kind = iota
	KindTrade
	KindBookSnapshot
	KindBookDelta
	KindBBO
	KindTicker
	KindCandle
	KindFunding
	KindMarkPrice
	KindIndexPrice
	KindOpenInterest
	KindLiquidation
	KindOptionSummary
	KindLongShortRatio
	KindVolatilityIndex
	KindInstrument
	KindQuality
	KindCoverage
	numKinds
)

var kindNames = enum{"invalid", "trade", "book_snapshot", "book_delta", "bbo", "ticker", "candle", "funding",
	"mark_price", "index_price", "open_interest", "liquidation", "option_summary", "long_short_ratio",
	"volatility_index", "instrument", "quality", "coverage"}

func (k Kind) String() string { return kindNames.name(int(k)) }

// ParseKind is the inverse of String.
func ParseKind(s string) (Kind, error) { i, err := kindNames.parse("kind", s); return Kind(i), err }

// Kinds lists all kinds in order of value.
func Kinds() []Kind {
	ks := make([]Kind, 0, numKinds-1)
	for k := KindTrade; k < numKinds; k++ {
		ks = append(ks, k)
	}
	return ks
}

// Channel is what a user subscribes to; a channel gives one or more kinds.
type Channel uint8

// The channels. Values are part of the layout.
const (
	ChannelNone Channel = iota
	ChannelTrades
	ChannelBook
	ChannelBBO
	ChannelTicker
	ChannelCandles
	ChannelFunding
	ChannelMarkPrice
	ChannelIndexPrice
	ChannelOpenInterest
	ChannelLiquidations
	ChannelLongShortRatio
	ChannelVolatilityIndex
	ChannelOptions
	ChannelOrders
	ChannelInstruments
	numChannels
)

var channelNames = enum{"none", "trades", "book", "bbo", "ticker", "candles", "funding", "mark_price", "index_price",
	"open_interest", "liquidations", "long_short_ratio", "volatility_index", "options", "orders", "instruments"}

func (c Channel) String() string { return channelNames.name(int(c)) }

// ParseChannel is the inverse of String.
func ParseChannel(s string) (Channel, error) {
	i, err := channelNames.parse("channel", s)
	return Channel(i), err
}

// MarshalText and UnmarshalText use the channel's name.
func (c Channel) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (c *Channel) UnmarshalText(b []byte) (err error) { *c, err = ParseChannel(string(b)); return }

// MarshalText and UnmarshalText use the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (k *Kind) UnmarshalText(b []byte) (err error) { *k, err = ParseKind(string(b)); return }

// Market is a kind of contract, not a venue's product name.
type Market uint8

// The markets. MarketMixed is no instrument's market: recordings that hold
// several carry it.
const (
	MarketNone Market = iota
	MarketSpot
	MarketLinear
	MarketInverse
	MarketOption
	MarketMixed
)

var marketNames = enum{"", "spot", "linear", "inverse", "option", "mixed"}

func (m Market) String() string { return marketNames.name(int(m)) }

// ParseMarket is the inverse of String.
func ParseMarket(s string) (Market, error) {
	i, err := marketNames.parse("market", s)
	return Market(i), err
}

// MarshalText and UnmarshalText use the market's name.
func (m Market) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (m *Market) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*m = MarketNone
		return nil
	}
	*m, err = ParseMarket(string(b))
	return err
}

// Side is the taker's side of a trade, or the side of a closing order.
type Side uint8

// The sides.
const (
	SideUnknown Side = iota
	SideBuy
	SideSell
)

var sideNames = enum{"unknown", "buy", "sell"}

func (s Side) String() string { return sideNames.name(int(s)) }

// Origin says how a record came to be.
type Origin uint8

// The origins: live from the stream; history sent on subscribing; backfill by
// request after a gap; derived by the runtime (BBO from the book, bars).
const (
	OriginLive Origin = iota
	OriginHistory
	OriginBackfill
	OriginDerived
)

var originNames = enum{"live", "history", "backfill", "derived"}

func (o Origin) String() string { return originNames.name(int(o)) }

// Flags qualify a record.
type Flags uint16

// The flags. Those from FlagApplied to FlagCrossed are set by the runtime's book
// engine on book records that it judged; plugins leave them unset.
const (
	FlagTsEstimated Flags = 1 << iota // Ts is the receive time: the venue gave none
	FlagReset                         // the venue starts the book anew with this record
	FlagKeepAlive                     // repeats the state; changes nothing
	FlagAggregate                     // a trade that the venue merged of several
	FlagClosed                        // a candle that is final
	FlagLossy                         // the venue drops updates of this channel by design
	FlagEnd                           // ends the book: the venue acknowledged that it stops
	FlagApplied                       // in sequence and applied to the runtime's book
	FlagStale                         // wholly before the snapshot in force
	FlagUnsynced                      // came while no snapshot was in force and was never applied
	FlagChecksumOK                    // the venue's checksum was computed and agrees
	FlagChecksumBad                   // the venue's checksum was computed and differs
	FlagCrossed                       // best bid >= best ask after this record
	FlagQuoteAmount                   // the amount is in the quote currency, other than the instrument's trades
)

// FlagsRuntime are the flags that only the runtime may set.
const FlagsRuntime = FlagApplied | FlagStale | FlagUnsynced | FlagChecksumOK | FlagChecksumBad | FlagCrossed

// Cause is why a quality record exists.
type Cause uint8

// The causes.
const (
	CauseNone Cause = iota
	CauseGap
	CauseDisconnect
	CauseStale
	CauseChecksum
	CauseCrossed
	CauseDuplicate
	CauseDropped
	CauseDecodeError
	CauseRejected
	CauseMaintenance
	CauseRuntimeDown
	CauseStopped
)

var causeNames = enum{"none", "gap", "disconnect", "stale", "checksum", "crossed", "duplicate", "dropped",
	"decode_error", "rejected", "maintenance", "runtime_down", "stopped"}

func (c Cause) String() string { return causeNames.name(int(c)) }

// Verifiable says how the completeness of a channel can be proven.
type Verifiable uint8

// The ways.
const (
	VerifiableNone Verifiable = iota
	VerifiableSequence
	VerifiableChecksum
)

var verifiableNames = enum{"none", "sequence", "checksum"}

func (v Verifiable) String() string { return verifiableNames.name(int(v)) }

// Unit is what an amount counts.
type Unit uint8

// The units.
const (
	UnitUnknown Unit = iota
	UnitBase
	UnitQuote
	UnitContract
)

var unitNames = enum{"", "base", "quote", "contract"}

func (u Unit) String() string { return unitNames.name(int(u)) }

// MarshalText and UnmarshalText use the unit's name.
func (u Unit) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (u *Unit) UnmarshalText(b []byte) error {
	for i, n := range unitNames {
		if n == string(b) {
			*u = Unit(i)
			return nil
		}
	}
	return fmt.Errorf("market: %q is no unit", b)
}

// Status is an instrument's trading state.
type Status uint8

// The states.
const (
	StatusUnknown Status = iota
	StatusTrading
	StatusHalted
	StatusPreOpen
	StatusDelisted
	StatusExpired
)

var statusNames = enum{"unknown", "trading", "halted", "pre_open", "delisted", "expired"}

func (s Status) String() string { return statusNames.name(int(s)) }

// MarshalText and UnmarshalText use the state's name.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (s *Status) UnmarshalText(b []byte) error {
	i := slices.Index(statusNames, string(b))
	if i < 0 {
		return fmt.Errorf("market: %q is no status; there are %v", b, []string(statusNames))
	}
	*s = Status(i)
	return nil
}

// OptionType is call or put.
type OptionType uint8

// The option types.
const (
	OptionNone OptionType = iota
	OptionCall
	OptionPut
)

var optionNames = enum{"", "call", "put"}

func (o OptionType) String() string { return optionNames.name(int(o)) }

// MarshalText and UnmarshalText use the type's name, empty for none.
func (o OptionType) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (o *OptionType) UnmarshalText(b []byte) error {
	i := slices.Index(optionNames, string(b))
	if i < 0 {
		return fmt.Errorf("market: %q is neither call nor put", b)
	}
	*o = OptionType(i)
	return nil
}
