package flow

import (
	"encoding/json"
	"fmt"

	"github.com/marketprism/marketprism/runtime/selection"
	"github.com/marketprism/marketprism/sdk/market"
	"github.com/marketprism/marketprism/sdk/source"
)

// The notes that the runtime writes into a frames journal (InputNote, InputGap).
const (
	NoteStart        = "start"        // a run begins: plan digest, versions
	NoteStopping     = "stopping"     // a run is about to end in order: connections close next
	NoteStop         = "stop"         // it has ended
	NoteSubscribed   = "subscribed"   // Subs are carried by the record's connection
	NoteWanted       = "wanted"       // Subs are about to be asked for, maybe again
	NoteUnsubscribed = "unsubscribed" // Subs are no longer wanted
	NoteSelected     = "selected"     // Listings were taken by a selector, or left out
	NoteStale        = "stale"        // the connection delivers nothing
	NoteHistory      = "history"      // the answer to a request for trades of Subs from From to To stands before it; with Detail there is none
	NoteHistoryOff   = "history_off"  // trades of Subs are not asked for again
	NoteRejected     = "rejected"     // Subs are left out: the venue ends connections on them
	NoteQuarantine   = "quarantine"   // a plugin was given up
	NoteDown         = "runtime_down" // InputGap: the runtime was killed; From is the last sign of life
	NoteStopped      = "stopped"      // InputGap: the runtime was stopped; From is when
	NoteDropped      = "dropped"      // InputGap: the disk was full
)

// Note is a statement of the runtime in a frames journal.
type Note struct {
	Note   string                `json:"note"`
	From   int64                 `json:"from,omitempty"` // ns; of NoteHistory as the venue pages
	To     int64                 `json:"to,omitempty"`   // of NoteHistory
	Subs   []source.Subscription `json:"subs,omitempty"`
	Detail string                `json:"detail,omitempty"`
	// Listings are instruments as the venue's catalogue states them.
	Listings []selection.Listing `json:"listings,omitempty"`
	Plan     string              `json:"plan,omitempty"`   // digest of the plan in force
	Build    string              `json:"build,omitempty"`  // of the runtime
	Plugin   string              `json:"plugin,omitempty"` // version of the source plugin
	Config   json.RawMessage     `json:"config,omitempty"` // selections; never secrets
}

// Encode is the note's journal form.
func (n Note) Encode() []byte {
	b, err := json.Marshal(n)
	if err != nil {
		return []byte(`{"note":"invalid"}`)
	}
	return b
}

// ParseNote is the inverse of Encode.
func ParseNote(b []byte) (Note, error) {
	var n Note
	if err := json.Unmarshal(b, &n); err != nil {
		return n, fmt.Errorf("note in the frames journal: %w", err)
	}
	return n, nil
}

// Cause is the quality record's cause for a gap note.
func (n Note) Cause() market.Cause {
	switch n.Note {
	case NoteStopped:
		return market.CauseStopped
	case NoteDropped:
		return market.CauseDropped
	}
	return market.CauseRuntimeDown
}
