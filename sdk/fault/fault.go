// Package fault gives errors a kind that names what the runtime does next. An
// error without a kind is Retry.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind names the reaction to an error.
type Kind uint8

// The kinds.
const (
	Retry Kind = iota // try again with backoff: the store was down, the connection broke
	Wait              // nothing is sent before Error.After has passed: 429, 418
	Skip              // this frame or record is refused for good; go on with the next
	Stop              // no retry can help: bad configuration, region refused, protocol mismatch
)

var names = [...]string{"retry", "wait", "skip", "stop"}

func (k Kind) String() string {
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("unknown(%d)", uint8(k))
}

// Error is an error with a kind.
type Error struct {
	Kind  Kind
	After time.Duration // Wait: how long
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// New gives err a kind.
func New(k Kind, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: k, Err: err}
}

// Errorf is fmt.Errorf with a kind.
func Errorf(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Err: fmt.Errorf(format, args...)}
}

// WaitFor asks that nothing be sent for d.
func WaitFor(d time.Duration, err error) error { return &Error{Kind: Wait, After: d, Err: err} }

// Of is the kind of the outermost Error in err's chain; Retry if there is none.
func Of(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Retry
}

// After is how long Wait asks for; 0 otherwise.
func After(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.After
	}
	return 0
}
