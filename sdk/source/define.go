package source

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/marketprism/marketprism/sdk/market"
)

func (o *Out) define(i market.Instrument) {
	b, err := json.Marshal(i)
	if err != nil { // unreachable: an Instrument is strings and numbers
		b = []byte("{}")
	}
	// A definition precedes the record that uses it: it has its own place in buf.
	o.buf = AppendSignal(o.buf, SignalDefine, o.in.Conn, i.ID, o.in.Pos, b)
}

// Precision tells the runtime with how many places the venue prints an
// instrument's prices and amounts.
func (o *Out) Precision(id market.InstrumentID, price, amount uint8) {
	b, err := json.Marshal(market.Instrument{ID: id, Precision: market.Precision{Known: true, Price: price, Amount: amount}})
	if err == nil {
		o.signal(SignalDefine, id, b)
	}
}

// ParseInput reads a frames journal record as an Input. Payloads of InputHTTP
// and InputOpen carry their URL before the data, as AppendHTTP writes it.
func ParseInput(in *Input, kind InputKind, conn uint32, recv int64, pos uint64, payload []byte) error {
	*in = Input{Kind: kind, Conn: conn, Recv: recv, Pos: pos, Data: payload}
	if kind != InputHTTP && kind != InputOpen {
		return nil
	}
	if len(payload) < 4 {
		return fmt.Errorf("source: frame at %d: %d bytes where an envelope was expected", pos, len(payload))
	}
	in.Status = int(binary.LittleEndian.Uint16(payload))
	n := int(binary.LittleEndian.Uint16(payload[2:]))
	if len(payload) < 4+n {
		return fmt.Errorf("source: frame at %d: envelope names a URL of %d bytes, %d are present", pos, n, len(payload)-4)
	}
	in.URL, in.Data = payload[4:4+n:4+n], payload[4+n:]
	return nil
}

// AppendHTTP writes the envelope of an InputHTTP or InputOpen payload.
func AppendHTTP(b []byte, status int, url string, body []byte) []byte {
	url = url[:min(len(url), 1<<16-1)]
	b = binary.LittleEndian.AppendUint16(b, uint16(status))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(url)))
	return append(append(b, url...), body...)
}
