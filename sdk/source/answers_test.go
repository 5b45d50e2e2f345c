package source

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/sdk/jsonscan"
	"github.com/marketprism/marketprism/sdk/market"
)

// TestBody: data is read once, where it stands or at the end, when its topic is
// known; what stands behind it is still read.
func TestBody(t *testing.T) {
	for frame, want := range map[string]string{
		`{"topic":"a","data":7,"more":[1]}`: "a 7",
		`{"data":7,"more":[1],"topic":"a"}`: "a 7",
		`{"data":7,"more":[1]}`:             "",
		`{"topic":"a"}`:                     "",
		`{"data":7,"topic":"a"`:             "error",
		`{"data":{},"topic":"a"}`:           "error",
		`{"topic":"a","data":{}}`:           "error",
		`{"topic":"a","data":1}{`:           "error",
	} {
		var c jsonscan.Cursor
		got := ""
		read := func() error {
			c.Reset([]byte(frame))
			var topic []byte
			var body Body
			data := func() error {
				got = fmt.Sprint(string(topic), " ", c.Int64())
				return c.Err()
			}
			for c.Object(); c.Key(); {
				switch string(c.KeyBytes()) {
				case "topic":
					topic = c.Str()
				case "data":
					if body.Due(&c, topic != nil) {
						if err := data(); err != nil {
							return err
						}
					}
				}
			}
			err := body.End(&c, topic != nil, data)
			if err == nil && body.Done != (got != "") {
				err = fmt.Errorf("done is %v", body.Done)
			}
			return err
		}
		if err := read(); err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s is %q, want %q", frame, got, want)
		}
	}
	var c jsonscan.Cursor
	frame := []byte(`{"data":7,"topic":"a"}`)
	if n := testing.AllocsPerRun(100, func() {
		c.Reset(frame)
		sum := int64(0)
		var body Body
		for c.Object(); c.Key(); {
			if string(c.KeyBytes()) == "data" && body.Due(&c, false) {
				t.Fatal("data that waits is due")
			}
		}
		if err := body.End(&c, true, func() error { sum += c.Int64(); return nil }); err != nil || sum != 7 {
			t.Fatal(sum, err)
		}
	}); n != 0 {
		t.Errorf("a body that waits costs %v allocations", n)
	}
}

func TestEnvelope(t *testing.T) {
	e := Envelope{Code: "code", OK: "0", Reason: "msg", Time: "time", Data: "data"}
	for _, c := range []struct {
		status int
		body   string
		want   string
	}{
		{200, `{"code":0,"msg":null,"time":1700000000000,"data":5}`, "1700000000000000000 5"},
		{200, `{"data":5,"code":"0","msg":"OK"}`, "0 5"},
		{200, `{"code":"0","data":null}`, "0 0"},
		{200, `{"code":"7","msg":"no such symbol","data":5}`, "status 200, code 7: no such symbol"},
		{403, `{"code":"0","msg":"go away","data":5}`, "status 403, code 0: go away"},
		{403, `<html>`, "status 403, code : "},
		{200, `{"code":"0"}`, "no data"},
	} {
		var cur jsonscan.Cursor
		cur.Reset([]byte(c.body))
		sent, err := e.Open(&cur, &Input{Kind: InputHTTP, Status: c.status})
		got := ""
		if err != nil {
			got = err.Error()
		} else if n := int64(0); cur.Kind() == jsonscan.KindNumber {
			n = cur.Int64()
			got = fmt.Sprint(sent, " ", n)
		} else {
			got = fmt.Sprint(sent, " ", n)
		}
		if got != c.want {
			t.Errorf("%d %s: %q, want %q", c.status, c.body, got, c.want)
		}
	}
}

func TestInput(t *testing.T) {
	in := &Input{Kind: InputHTTP, URL: []byte("https://h/api/v5/books?instId=A%2FB&sz=5")}
	if name, q := in.Asked(); name != "books" || q.Get("instId") != "A/B" || q.Get("sz") != "5" {
		t.Errorf("%q, %v", name, q)
	}
	why := errors.New("why")
	if err := in.Fail("v", why); !errors.Is(err, why) || !strings.HasPrefix(err.Error(), "v: response to https://h/api") {
		t.Error(err)
	}
	in.Kind = InputText
	if err := in.Fail("v", why); !errors.Is(err, why) || err.Error() != "v: frame: why" || in.Fail("v", nil) != nil {
		t.Error(err)
	}
}

type counter struct {
	c   jsonscan.Cursor
	sum int64
}

func (d *counter) add(*Out) error {
	for d.c.Key() {
		d.sum += d.c.Int64()
	}
	return nil
}

func (d *counter) stop(*Out) error { d.c.Leave(); d.c.Leave(); return nil }

func TestEach(t *testing.T) {
	for text, want := range map[string]int64{`{"a":1,"b":2}`: 3, `[{"a":1},{"a":2},{}]`: 3, `[]`: 0, `7`: -1, `[7]`: -1, `[{"a":1},null]`: -1, `[{"a":1}`: -1} {
		d := &counter{}
		d.c.Reset([]byte(text))
		err := EachOrOne(&d.c, d, nil, (*counter).add)
		if end := d.c.End(); err == nil {
			err = end
		}
		if err != nil {
			d.sum = -1
		}
		if d.sum != want {
			t.Errorf("%s: %d, %v, want %d", text, d.sum, err, want)
		}
	}
	d := &counter{}
	d.c.Reset([]byte(`[{"a":1},{"a":2}]`))
	if err := Each(&d.c, d, nil, (*counter).stop); err == nil {
		t.Error("an object that is left with its list is none that ends early")
	}
}

func TestBest(t *testing.T) {
	ls := []market.Level{{Price: market.NewDecimal(1, 0), Amount: market.NewDecimal(2, 0)}}
	var b market.BBO
	if Best(&b, ls, nil); b.BidPrice != ls[0].Price || b.BidAmount != ls[0].Amount || !b.AskPrice.IsNull() {
		t.Errorf("%+v", b)
	}
}

func TestMillisOrNone(t *testing.T) {
	for text, want := range map[string]int64{`1700000000000`: 1700000000000_000_000, `"1700000000000"`: 1700000000000_000_000, `""`: market.None, `null`: market.None,
		`0`: market.None, `"-1"`: market.None, `9223372036855`: market.None, `9223372036854`: 9223372036854_000_000} {
		var c jsonscan.Cursor
		c.Reset([]byte(text))
		if got := MillisOrNone(&c); got != want || c.End() != nil {
			t.Errorf("%s is %d, want %d, %v", text, got, want, c.Err())
		}
	}
}
