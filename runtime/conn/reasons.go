package conn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"

	"github.com/gorilla/websocket"
)

// closeReason is why a connection ended, as the metrics name it.
type closeReason int

// The reasons.
const (
	closeDrained  closeReason = iota // the feed ends, or the slot has no subscriptions left
	closeReplaced                    // another one carries its subscriptions
	closeVenue                       // the venue sent a close frame
	closeNetwork                     // it broke
	closeSilence                     // no sign of life
	closeFrame                       // a frame too large or too slow
	closeScript                      // the session went wrong: no acknowledgement
	closeJournal                     // the journal takes nothing
	closeError                       // the plugin failed, or anything else of ours
	closeReasons
)

func (r closeReason) String() string {
	return [...]string{"drained", "replaced", "venue", "network", "silence", "frame", "script", "journal", "error"}[r]
}

// ending is an error that ends a connection, with its reason.
type ending struct {
	error
	reason closeReason
}

func (e ending) Unwrap() error { return e.error }

func (l *link) endf(r closeReason, format string, args ...any) error {
	return ending{l.errorf(format, args...), r}
}

func closeReasonOf(err error) closeReason {
	if e := (ending{}); errors.As(err, &e) {
		return e.reason
	}
	return closeError
}

// brokenBy says what a reader's error means.
func (l *link) brokenBy(err error) error {
	if e := (ending{}); errors.As(err, &e) {
		return l.endf(e.reason, "read: %w", err)
	}
	if ce := (*websocket.CloseError)(nil); errors.As(err, &ce) {
		reason := closeVenue
		if ce.Code == websocket.CloseAbnormalClosure { // there was no close frame
			reason = closeNetwork
		}
		return l.endf(reason, "the venue closed: %w", ce)
	}
	return l.endf(closeNetwork, "read: %w", err)
}

// replaceReason is why a live connection is replaced, as the metrics name it.
type replaceReason int

// The reasons.
const (
	replaceAge         replaceReason = iota // before the venue's age limit
	replaceStale                            // signs of life, but no data
	replaceDegraded                         // ill for long
	replaceVenue                            // the venue said that it will close
	replaceMaintenance                      // the venue announced an interruption
	replaceEndpoint                         // another endpoint is better
	replaceRequest                          // the lane or an operator wants it
	replaceReasons
)

func (r replaceReason) String() string {
	return [...]string{"age", "stale", "degraded", "venue", "maintenance", "endpoint", "request"}[r]
}

// connectReason is why a connection could not be opened, as the metrics name it.
type connectReason int

// The reasons.
const (
	connectResolve connectReason = iota // the name does not resolve
	connectRefuse                       // no TCP connection
	connectTLS
	connectTimeout
	connectStatus // the venue answered the upgrade with an HTTP status
	connectScript // the plugin's session failed
	connectOther
	connectReasons
)

func (r connectReason) String() string {
	return [...]string{"resolve", "refused", "tls", "timeout", "status", "script", "other"}[r]
}

// unopened is an error of opening a connection, with its reason.
type unopened struct {
	error
	reason connectReason
}

func (e unopened) Unwrap() error { return e.error }

func connectReasonOf(err error) connectReason {
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	var name x509.HostnameError
	var to interface{ Timeout() bool }
	var op *net.OpError
	var known unopened
	switch {
	case errors.As(err, &known):
		return known.reason
	case errors.As(err, &dns):
		return connectResolve
	case errors.As(err, &cert), errors.As(err, &alert), errors.As(err, &record), errors.As(err, &name):
		return connectTLS
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &to) && to.Timeout():
		return connectTimeout
	case errors.As(err, &op):
		return connectRefuse
	}
	return connectOther
}
