package source

import (
	"bytes"
	"fmt"
	"net/url"

	"github.com/marketprism/marketprism/sdk/jsonscan"
)

// Fail says of what an error of Decode is; nil stays nil.
func (in *Input) Fail(venue string, err error) error {
	if err != nil {
		return in.failed(venue, err)
	}
	return nil
}

func (in *Input) failed(venue string, err error) error {
	if in.Kind == InputHTTP {
		return fmt.Errorf("%s: response to %s: %w", venue, in.URL, err)
	}
	return fmt.Errorf("%s: frame: %w", venue, err)
}

// Binary is the error of a binary frame where the venue sends text.
func (in *Input) Binary(venue string) error {
	return fmt.Errorf("%s: a binary frame of %d bytes where the venue sends text", venue, len(in.Data))
}

// Asked takes a response's request apart: the last part of its path, and its query.
func (in *Input) Asked() (name string, query url.Values) {
	path, rest, _ := bytes.Cut(in.URL, []byte("?"))
	query, _ = url.ParseQuery(string(rest))
	return string(path[bytes.LastIndexByte(path, '/')+1:]), query
}

// Envelope names the members of the object that a venue puts around what it answers.
type Envelope struct {
	Code, OK string // whether it worked, and the code that says so
	Reason   string // why not
	Time     string // ms; "" if there is none
	Data     string
}

// Open reads an envelope up to its data, which is due then, and gives its time. It
// is an error that the venue says it is one, or that there is no data.
func (e *Envelope) Open(c *jsonscan.Cursor, in *Input) (sent int64, err error) {
	var code, reason []byte
	var data jsonscan.Mark
	have := false
	c.Object()
	for c.Key() {
		switch string(c.KeyBytes()) {
		case e.Code:
			code = c.NumOrStr()
		case e.Reason:
			if !c.Null() {
				reason = c.Str()
			}
		case e.Time:
			sent = Millis(c)
		case e.Data:
			data, have = c.Mark(), true
		}
	}
	err = c.End()
	switch {
	case in.Status != 200 || err == nil && string(code) != e.OK:
		return 0, fmt.Errorf("status %d, code %.20s: %.200s", in.Status, code, reason)
	case err != nil:
		return 0, err
	case !have:
		return 0, fmt.Errorf("no %s", e.Data)
	}
	c.Seek(data)
	return sent, nil
}

// Body is the member of a frame that others explain: data, whose topic may stand
// behind it. It is read where it stands, if all that it takes came before it, else
// when the frame was read.
type Body struct {
	Done bool // it was read

	at      jsonscan.Mark
	waiting bool
}

// Due says whether the body, which is due, is to be read now: all is known that it
// takes.
func (b *Body) Due(c *jsonscan.Cursor, known bool) bool {
	if b.Done, b.waiting = known, !known; !known {
		b.mark(c)
	}
	return known
}

func (b *Body) mark(c *jsonscan.Cursor) { b.at = c.Mark() }

// End reads the rest of the frame, and then the body if it waited and is known by
// now.
func (b *Body) End(c *jsonscan.Cursor, known bool, read func() error) error {
	if err := c.End(); err != nil || !b.waiting || !known {
		return err
	}
	c.Seek(b.at)
	b.Done = true
	if err := read(); err != nil {
		return err
	}
	return c.End()
}
