package conn

import (
	"context"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/source"
)

// Ask makes the requests of one purpose, each once, under the venue's budgets as
// what isn't urgent, and returns when their responses are journalled. It needs no
// Run and takes no subscriptions: r.Market and r.Base are the feed's. weight is
// that of one request where the plugin states none. An error says by its kind
// what to do next and names the address; what was asked before it is journalled.
func (f *Feed) Ask(ctx context.Context, r source.RequestFor, weight int) error {
	if len(f.set.Spec.HTTP) == 0 {
		return fault.Errorf(fault.Stop, "conn: %s: the manifest names no HTTP address", f.name)
	}
	r.Market, r.Base = f.set.Spec.Market, f.base()
	reqs, err := f.set.Renderer.Requests(ctx, r)
	if err != nil {
		return err
	}
	if len(reqs) == 0 {
		return fault.Errorf(fault.Stop, "conn: %s: the plugin has no request for %s", f.name, r.Purpose)
	}
	for _, q := range reqs {
		if q.Socket {
			return fault.Errorf(fault.Stop, "conn: %s: %s are had by a WebSocket connection alone", f.name, r.Purpose)
		}
		if _, err := f.exchange(ctx, call{Request: q, purpose: r.Purpose, weight: weight, priority: later}); err != nil {
			f.nextBase(err)
			return err
		}
	}
	return nil
}
