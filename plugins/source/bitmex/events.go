package bitmex

import (
	"bytes"
	"fmt"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/source"
)

// event decodes what is no table: the greeting, acknowledgements of a topic
// {"success":true,"subscribe":"trade:XBTUSD","request":…,"pool":"Primary"} and
// refusals {"status":400,"error":…,"meta":{},"request":{"op":…,"args":…}}.
func (d *decoder) event(out *source.Out) error {
	c := &d.c
	var topic, ended, reason, code []byte
	var request jsonscan.Mark
	asked, refused := false, false
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "subscribe":
			topic = c.Str()
		case "unsubscribe":
			ended = c.Str()
		case "error":
			reason, refused = c.Str(), true
		case "status":
			code = c.NumOrStr()
		case "request":
			request, asked = c.Mark(), true
		}
	}
	if err := c.End(); err != nil {
		return err
	}
	switch {
	case refused && asked:
		c.Seek(request)
		return d.refused(code, reason, out)
	case refused:
		return fmt.Errorf("the venue says: status %.20s: %.300s", code, reason)
	case ended != nil:
		d.ended(ended, out)
		out.Subscribed(d.token(true, ended))
	case topic != nil:
		out.Subscribed(topic)
	default:
		out.Heartbeat()
	}
	return nil
}

// token is that of a topic that was asked for, or given up.
func (d *decoder) token(up bool, topic []byte) []byte {
	if d.text = d.text[:0]; up {
		d.text = append(d.text, givenUp...)
	}
	d.text = append(d.text, topic...)
	return d.text
}

// ended ends the book of a topic that was given up.
func (d *decoder) ended(topic []byte, out *source.Out) {
	name, symbol, ok := bytes.Cut(topic, []byte{':'})
	if t := d.m.tableOf(name); !ok || t != isBook && t != isBookTen {
		return
	}
	out.EndBook(d.id(symbol, out))
}

// refused passes on why a request was, for each of its topics: a list, or one
// alone. What is subscribed already is as good as acknowledged.
func (d *decoder) refused(code, reason []byte, out *source.Out) error {
	c := &d.c
	why := fmt.Appendf(nil, "%s: %.300s", code, reason)
	again := bytes.HasPrefix(reason, []byte("You are already subscribed"))
	var args jsonscan.Mark
	var op string
	have := false
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case "op":
			op = string(c.Str())
		case "args":
			args, have = c.Mark(), true
		}
	}
	up := op == "unsubscribe"
	if !have || op != "subscribe" && !up { // of another command nothing is repeated: it may hold a key
		return fmt.Errorf("the venue refuses a command: %s", why)
	}
	answer := func(topic []byte) {
		if token := d.token(up, topic); again {
			out.Subscribed(token)
		} else {
			out.Rejected(token, why)
		}
	}
	c.Seek(args)
	if c.Kind() == jsonscan.KindString {
		answer(c.Str())
		return c.Err()
	}
	c.Array()
	for c.Elem() {
		answer(c.Str())
	}
	return c.Err()
}
