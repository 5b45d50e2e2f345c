// Package schema describes the attributes that a plugin's HCL blocks take, so
// that `marketprism validate` checks a custom plugin's configuration as well as
// a bundled one's, without running any of its logic.
package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Type is the type of an attribute's value in HCL.
type Type string

// The types. Durations and sizes are strings with a unit in HCL ("30s",
// "256MiB") and arrive as int64 nanoseconds and bytes.
const (
	String   Type = "string"
	Int      Type = "int"
	Float    Type = "float"
	Bool     Type = "bool"
	Duration Type = "duration"
	Size     Type = "size"
	Strings  Type = "list(string)"
)

// Target is what a path that is written leads to.
type Target string

// The targets. What isn't there is made before the plugin starts: a directory
// with those above it, a file empty and without them; what lies below another
// directory that is written is left to the plugin.
const (
	Directory Target = "directory" // and everything below it
	File      Target = "file"      // itself alone, nothing beside it
)

// Attribute is one attribute of a block.
type Attribute struct {
	Name      string   `json:"name"`
	Type      Type     `json:"type"`
	Doc       string   `json:"doc"`
	Default   any      `json:"default,omitempty"` // in HCL's notation: "30s", 5, true
	Required  bool     `json:"required,omitempty"`
	Allowed   []string `json:"allowed,omitempty"` // of strings, and of each string of a list
	Min       *int64   `json:"min,omitempty"`     // of ints, durations (ns), sizes (bytes)
	Max       *int64   `json:"max,omitempty"`
	Sensitive bool     `json:"sensitive,omitempty"` // never logged, planned, journalled
	// Writes says that the value is a path that a sink writes, or of a list that
	// each is. The sink's process can write there and nowhere else (sink.Access).
	// An empty value and one with "://" in it name no path.
	Writes Target `json:"writes,omitempty"`
}

// Paths are the values of an attribute that Writes.
func (a Attribute) Paths(v Values) (paths []string) {
	if a.Writes == "" {
		return nil
	}
	for _, p := range append([]string{v.String(a.Name)}, v.Strings(a.Name)...) {
		if p != "" && !strings.Contains(p, "://") {
			paths = append(paths, p)
		}
	}
	return paths
}

// Attributes is a block's schema.
type Attributes []Attribute

// Get finds an attribute by name.
func (as Attributes) Get(name string) (Attribute, bool) {
	i := slices.IndexFunc(as, func(a Attribute) bool { return a.Name == name })
	if i < 0 {
		return Attribute{}, false
	}
	return as[i], true
}

// Limit is a helper for Min and Max.
func Limit(v int64) *int64 { return &v }

// Values are checked attribute values by name, defaults filled in: string,
// int64 (ints, durations in ns, sizes in bytes), float64, bool, []string.
type Values map[string]any

// String, Int, Float, Bool, Duration and Strings give zero values for what isn't set.
func (v Values) String(name string) string { s, _ := v[name].(string); return s }

// Int reads an int or a size in bytes.
func (v Values) Int(name string) int64 { n, _ := v[name].(int64); return n }

// Float reads a float; a whole number crossed the wire as an integer.
func (v Values) Float(name string) float64 {
	if n, ok := v[name].(int64); ok {
		return float64(n)
	}
	f, _ := v[name].(float64)
	return f
}

// Bool reads a bool.
func (v Values) Bool(name string) bool { b, _ := v[name].(bool); return b }

// Duration reads a duration.
func (v Values) Duration(name string) time.Duration { return time.Duration(v.Int(name)) }

// Strings reads a list.
func (v Values) Strings(name string) []string { s, _ := v[name].([]string); return s }

// UnmarshalJSON keeps integers exact: a number without a point becomes int64.
func (v *Values) UnmarshalJSON(b []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	*v = make(Values, len(raw))
	for name, r := range raw {
		var x any
		var err error
		switch {
		case len(r) > 0 && r[0] == '[':
			var l []string
			err = json.Unmarshal(r, &l)
			x = l
		case len(r) > 0 && (r[0] == '-' || r[0] >= '0' && r[0] <= '9') && !strings.ContainsAny(string(r), ".eE"):
			var n int64
			err = json.Unmarshal(r, &n)
			x = n
		default:
			err = json.Unmarshal(r, &x)
		}
		if err != nil {
			return fmt.Errorf("schema: attribute %s: %w", name, err)
		}
		(*v)[name] = x
	}
	return nil
}
