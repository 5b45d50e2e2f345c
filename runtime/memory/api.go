package memory

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
)

// Root is where Handler's routes begin.
const Root = "/api/v1/memory/"

// Routes serve the monitor's findings as JSON, by http.ServeMux's patterns:
//
//	GET  /api/v1/memory/snapshots           ids and sizes, the oldest first
//	GET  /api/v1/memory/snapshots/{id}      one; latest, previous and first are ids, too
//	POST /api/v1/memory/snapshots           takes one and answers with it
//	GET  /api/v1/memory/diff?from=&to=      previous and latest if left out
//	GET  /api/v1/memory/leaks
//	GET  /api/v1/memory/advice
//
// Errors are {"error": {"status", "message"}}. Only POST changes anything.
func (m *Monitor) Routes() map[string]http.Handler {
	serve := func(f func(*http.Request) (any, error)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			v, err := f(r)
			reply(w, v, err)
		})
	}
	return map[string]http.Handler{
		"GET " + Root + "snapshots": serve(func(*http.Request) (any, error) {
			if m.history == nil {
				return []Entry{}, nil
			}
			return m.history.List()
		}),
		"GET " + Root + "snapshots/{id}": serve(func(r *http.Request) (any, error) { return m.get(r.PathValue("id")) }),
		"POST " + Root + "snapshots":     serve(func(r *http.Request) (any, error) { return m.Snapshot(r.Context(), "request") }),
		"GET " + Root + "diff": serve(func(r *http.Request) (any, error) {
			return m.diff(r.URL.Query().Get("from"), r.URL.Query().Get("to"))
		}),
		"GET " + Root + "leaks":  serve(func(*http.Request) (any, error) { return Leaking(m.Latest()), nil }),
		"GET " + Root + "advice": serve(func(*http.Request) (any, error) { return m.Advice(), nil }),
	}
}

// LeakReport is what leaks, and since when it is watched.
type LeakReport struct {
	At      string  `json:"at"` // id of the sample
	Watched float64 `json:"watched_seconds"`
	Leaks   []Leak  `json:"leaks"`
}

// Leaking takes the leaks out of a snapshot, which may be nil.
func Leaking(s *Snapshot) LeakReport {
	if s == nil {
		return LeakReport{Leaks: []Leak{}}
	}
	return LeakReport{s.ID, s.Uptime, append([]Leak{}, s.Leaks...)}
}

// Advice is Advise of the last sample.
func (m *Monitor) Advice() []Advice {
	s := m.Latest()
	if s == nil {
		return []Advice{}
	}
	c := *s
	var before *Snapshot
	if m.history != nil {
		if l, err := m.history.Get("latest"); err == nil && l.Time.After(m.started) {
			before = l
			c.Mappings = l.Mappings // with their resident bytes
		}
	}
	return append([]Advice{}, Advise(&c, before)...)
}

func (m *Monitor) get(id string) (*Snapshot, error) {
	if m.history == nil {
		return nil, ErrUnknown
	}
	return m.history.Get(id)
}

func (m *Monitor) diff(from, to string) (*Diff, error) {
	if m.history == nil {
		return nil, ErrUnknown
	}
	return m.history.Diff(from, to)
}

// Diff compares two snapshots of the history: by default the last two.
func (h *History) Diff(from, to string) (*Diff, error) {
	if from == "" {
		from = "previous"
	}
	if to == "" {
		to = "latest"
	}
	a, err := h.Get(from)
	if err != nil {
		return nil, err
	}
	b, err := h.Get(to)
	if err != nil {
		return nil, err
	}
	return Compare(a, b), nil
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	status := http.StatusOK
	switch {
	case err == nil:
	case errors.Is(err, ErrUnknown):
		status = http.StatusNotFound
	case errors.Is(err, ErrEnded), errors.Is(err, context.Canceled):
		status = http.StatusServiceUnavailable
	default:
		status = http.StatusInternalServerError
	}
	if err != nil {
		v = map[string]any{"error": map[string]any{"status": status, "message": err.Error()}}
	}
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the reader may have gone
}
