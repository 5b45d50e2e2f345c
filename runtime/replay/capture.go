package replay

import (
	"github.com/marketprism/marketprism/sdk/capture"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// OpenCapture opens a capture file (.jsonl or .jsonl.zst) for replay.
func OpenCapture(path string) (*Input, error) {
	r, err := capture.Open(path)
	if err != nil {
		return nil, err
	}
	h := r.Header
	if err := r.Close(); err != nil {
		return nil, err
	}
	m, called := market.MarketMixed, h.Market // "futures": linear and inverse of one venue
	if known, err := market.ParseMarket(h.Market); err == nil {
		m, called = known, ""
	}
	return &Input{Path: path, Venue: h.Venue, Market: m, Called: called, events: func(yield func(*Event) error) error {
		r, err := capture.Open(path)
		if err != nil {
			return err
		}
		defer r.Close()
		var ev Event
		var buf []byte
		for e, err := range r.All() {
			if err != nil {
				return err
			}
			in := e.Input()
			ev = Event{Kind: in.Kind, Conn: in.Conn, Wall: in.Recv, Payload: in.Data}
			if in.Kind == source.InputHTTP || in.Kind == source.InputOpen {
				buf = source.AppendHTTP(buf[:0], in.Status, string(in.URL), in.Data)
				ev.Payload = buf
			}
			if err := yield(&ev); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}
