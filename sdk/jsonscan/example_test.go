package jsonscan_test

import (
	"fmt"

	"github.com/marketprism/marketprism/sdk/jsonscan"
)

// A combined stream's trade, whose "data" may come before the "stream" that says what it is.
func Example() {
	type trade struct {
		symbol        string
		id, ts        int64
		price, amount jsonscan.Decimal
		buyerIsMaker  bool
	}
	decimal := func(c *jsonscan.Cursor) jsonscan.Decimal {
		coef, scale, ok := c.DecimalParts()
		if !ok {
			c.Fail("a price or an amount is no decimal")
		}
		return jsonscan.Decimal{Coef: coef, Scale: scale}
	}
	decodeTrade := func(c *jsonscan.Cursor) (t trade) {
		for c.Object(); c.Key(); {
			switch c.Key1() {
			case 's':
				t.symbol = string(c.Str())
			case 't':
				t.id = c.Int64()
			case 'p':
				t.price = decimal(c)
			case 'q':
				t.amount = decimal(c)
			case 'T':
				t.ts = c.Int64()
			case 'm':
				t.buyerIsMaker = c.Bool()
			}
		}
		return t
	}

	var c jsonscan.Cursor // one for all frames
	for _, frame := range []string{
		`{"data":{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.00100000","q":"100","T":1672515782130,"m":true,"M":true},"stream":"bnbbtc@trade"}`,
		`{"stream":"bnbbtc@trade","data":{"e":"trade","s":"BNBBTC","p":"1,5"}}`,
		`{"stream":"bnbbtc@trade","data":{"e":"trade","s":"BNBBTC","p":"1.5"}`,
	} {
		c.Reset([]byte(frame))
		var data jsonscan.Mark
		isTrade := false
		for c.Object(); c.Key(); {
			switch string(c.KeyBytes()) {
			case "stream":
				isTrade = string(c.Str()) == "bnbbtc@trade"
			case "data":
				data = c.Mark()
			}
		}
		if err := c.End(); err != nil {
			fmt.Println(err)
			continue
		}
		if !isTrade {
			continue
		}
		c.Seek(data)
		t := decodeTrade(&c)
		if err := c.Err(); err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Printf("%+v\n", t)
	}
	// Output:
	// {symbol:BNBBTC id:12345 ts:1672515782130 price:{Coef:100000 Scale:8} amount:{Coef:100 Scale:0} buyerIsMaker:true}
	// jsonscan: byte 63: a price or an amount is no decimal
	// jsonscan: byte 68: the frame ends inside an object
}

// The levels of a book side, at most two numbers of each taken.
func ExampleCursor_Decimals() {
	var c jsonscan.Cursor
	c.Reset([]byte(`[["16578.50","0.42"],["16578.4",1,0,"1672515782"],[16577,1234567890123456789]]`))
	for c.Array(); c.Elem(); {
		var level [2]jsonscan.Decimal
		if n, ok := c.Decimals(level[:]); ok && n == 2 {
			fmt.Println(level)
			continue
		}
		// Not at sight: element by element.
		for c.Array(); c.Elem(); {
			fmt.Printf("%s\n", c.NumOrStr())
		}
	}
	fmt.Println(c.End())
	// Output:
	// [{1657850 2} {42 2}]
	// [{165784 1} {1 0}]
	// 16577
	// 1234567890123456789
	// <nil>
}
