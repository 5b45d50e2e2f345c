package conn

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/source"
)

// socketAlone is a plugin whose requests go over a connection.
type socketAlone struct{ plugin }

func (*socketAlone) Requests(context.Context, source.RequestFor) ([]source.Request, error) {
	return []source.Request{{Socket: true, Body: "{}"}}, nil
}

// nothing is a plugin without a request.
type nothing struct{ plugin }

func (*nothing) Requests(context.Context, source.RequestFor) ([]source.Request, error) {
	return nil, nil
}

// TestAsk: a feed that doesn't run asks once, pays for it, and journals the
// answer.
func TestAsk(t *testing.T) {
	v := newVenue(t)
	v.http = func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/tickers") {
			http.Error(w, "busy", http.StatusInternalServerError)
			return
		}
		w.Write([]byte(`{"listed":[]}`))
	}
	mem := newMemory()
	s := settings(v, func(s *Settings) {
		s.Frames, s.Renderer = mem, &plugin{}
		s.Spec.Weight.Rate = source.Rate{N: 100, Per: time.Minute}
	})
	f, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	used := func() int { return f.ways[0].weight.sum }
	if err := f.Ask(t.Context(), source.RequestFor{Purpose: source.PurposeInstruments}, 20); err != nil || used() != 20 {
		t.Errorf("%v, a weight of %d was used", err, used())
	}
	mem.wait(t, "the answer", atLeast(1, source.InputHTTP, `{"listed":[]}`))
	err = f.Ask(t.Context(), source.RequestFor{Purpose: source.PurposeTickers}, 40)
	if err == nil || !strings.Contains(err.Error(), "/tickers: HTTP 500") || used() != 60 {
		t.Errorf("%v, a weight of %d was used", err, used())
	}
	// What isn't urgent leaves a fifth of the budget: the next one waits, for as
	// long as its context lets it.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := f.Ask(ctx, source.RequestFor{Purpose: source.PurposeInstruments}, 21); !errors.Is(err, context.DeadlineExceeded) || used() != 60 {
		t.Errorf("%v, a weight of %d was used", err, used())
	}
	for name, edit := range map[string]func(*Settings){
		"by a WebSocket connection alone": func(s *Settings) { s.Renderer = &socketAlone{} },
		"no request for instruments":      func(s *Settings) { s.Renderer = &nothing{} },
		"no HTTP address":                 func(s *Settings) { s.Spec.HTTP = nil },
	} {
		s := settings(v, func(s *Settings) { s.Frames, s.Renderer = mem, &plugin{}; edit(s) })
		f, err := New(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Ask(t.Context(), source.RequestFor{Purpose: source.PurposeInstruments}, 1); err == nil || fault.Of(err) != fault.Stop || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
