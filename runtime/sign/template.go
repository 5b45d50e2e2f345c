package sign

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// place is where a value is written, which says how.
type place uint8

const (
	inPayload place = iota // as it is
	inHeader
	inJSON
	inQuery
)

// lookup finds a placeholder's value. The error says why there is none.
type lookup func(name string) ([]byte, error)

// fill writes a template's text with values in place of placeholders. Text that
// comes out of a value is never looked at again.
func fill(template string, in place, value lookup) ([]byte, error) {
	out := make([]byte, 0, len(template)+128)
	for rest := template; ; {
		text, after, found := strings.Cut(rest, "${")
		out = append(out, text...)
		if !found {
			return out, nil
		}
		name, more, closed := strings.Cut(after, "}")
		if !closed || len(name) > 64 {
			return nil, fmt.Errorf("the placeholder ${%.20s has no end", after)
		}
		rest = more
		name, form, _ := strings.Cut(name, "|")
		v, err := value(name)
		if err != nil {
			return nil, err
		}
		at := in
		switch form {
		case "":
		case "query":
			at = inQuery
		default:
			return nil, fmt.Errorf("${%s|%s}: a value can be written |query and in no other form", name, form)
		}
		if out, err = write(out, at, v); err != nil {
			return nil, fmt.Errorf("${%s}: %w", name, err)
		}
	}
}

func write(out []byte, in place, v []byte) ([]byte, error) {
	switch in {
	case inHeader:
		if bytes.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, fmt.Errorf("the value has characters that a header can't have")
		}
	case inJSON:
		b, err := json.Marshal(string(v))
		if err != nil {
			return nil, fmt.Errorf("the value is no text")
		}
		out = append(out, b[1:len(b)-1]...)
		clear(b)
		return out, nil
	case inQuery:
		return append(out, url.QueryEscape(string(v))...), nil
	}
	return append(out, v...), nil
}

// placeholders calls each with the names in a template.
func placeholders(template string, each func(name string)) {
	for rest := template; ; {
		_, after, found := strings.Cut(rest, "${")
		if !found {
			return
		}
		name, more, _ := strings.Cut(after, "}")
		name, _, _ = strings.Cut(name, "|")
		each(name)
		rest = more
	}
}
