package source

import (
	"hash/fnv"
	"slices"
	"strconv"

	"github.com/marketprism/marketprism/sdk/market"
)

// DialAndSubscribe is the script of a session that dials its endpoint and
// subscribes. What else a venue wants is put between the two.
func DialAndSubscribe(s Source, r SessionRequest) (Script, error) {
	subscribe, err := s.Frames(FrameRequest{Market: r.Market, Class: r.Class, Subscriptions: r.Subscriptions})
	if err != nil {
		return Script{}, err
	}
	return Script{Steps: []Step{{Dial: &Dial{URL: r.Endpoint}}, {Subscribe: subscribe}}}, nil
}

// Op is the venue's word for what is asked for.
func (r *FrameRequest) Op(subscribe, unsubscribe string) string {
	if r.Unsubscribe {
		return unsubscribe
	}
	return subscribe
}

// Topic is what a venue lets be subscribed, and the subscriptions of a request
// that need it, by index.
type Topic[T comparable] struct {
	Name T
	Subs []int
}

// Topics are those of a request, each once, in the order of its subscriptions,
// of which one may need several and several one. Those that Live needs aren't
// given up.
func Topics[T comparable](r FrameRequest, of func(market.Market, Subscription) ([]T, error)) ([]Topic[T], error) {
	const kept = -1
	at := map[T]int{}
	for _, sub := range r.Live {
		names, err := of(r.Market, sub)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			at[n] = kept
		}
	}
	var all []Topic[T]
	for i, sub := range r.Subscriptions {
		names, err := of(r.Market, sub)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			switch j, ok := at[n]; {
			case !ok:
				at[n] = len(all)
				all = append(all, Topic[T]{n, []int{i}})
			case j != kept && all[j].Subs[len(all[j].Subs)-1] != i:
				all[j].Subs = append(all[j].Subs, i)
			}
		}
	}
	return all, nil
}

// FrameEach renders a frame for each topic of a request: what the venue refuses of
// one doesn't concern the others.
func FrameEach[T comparable](r FrameRequest, of func(market.Market, Subscription) ([]T, error), frame func(T) Frame) ([]Frame, error) {
	topics, err := Topics(r, of)
	if err != nil {
		return nil, err
	}
	frames := make([]Frame, len(topics))
	for i, t := range topics {
		frames[i] = frame(t.Name)
		frames[i].Subs = t.Subs
	}
	return frames, nil
}

// FrameBatches renders frames of several topics. A topic goes into the last frame
// whose topics it joins, else into one of its own.
func FrameBatches[T comparable](topics []Topic[T], joins func(batch []T, next T) bool, frame func([]T) Frame) []Frame {
	var batches []Topic[T] // the first of each
	var names [][]T
	for _, t := range topics {
		i := len(batches) - 1
		for i >= 0 && !joins(names[i], t.Name) {
			i--
		}
		if i < 0 {
			batches, names = append(batches, t), append(names, []T{t.Name})
			continue
		}
		names[i] = append(names[i], t.Name)
		for _, sub := range t.Subs {
			if !slices.Contains(batches[i].Subs, sub) {
				batches[i].Subs = append(batches[i].Subs, sub)
			}
		}
	}
	frames := make([]Frame, len(batches))
	for i := range batches {
		frames[i] = frame(names[i])
		frames[i].Subs = batches[i].Subs
	}
	return frames
}

// RequestID is a number of 31 bits for a request, which the venue repeats in its
// answer. It follows from what is asked: a plugin has no counter that would
// outlive a restart.
func RequestID(parts ...string) string {
	h := fnv.New32a()
	for _, p := range parts {
		h.Write([]byte(p))
	}
	return strconv.FormatUint(uint64(h.Sum32()&^(1<<31)), 10)
}

// Catalogue says whether a market's instruments are asked for, once or again and again.
func (r *RequestFor) Catalogue() bool {
	return r.Purpose == PurposeInstruments || r.Purpose == PurposePoll && len(r.Subs) > 0 && r.Subs[0].Channel == market.ChannelInstruments
}

// Depth is the least of those that a book can be subscribed with, in rising order,
// which holds so many levels; the greatest if none does or none are asked for.
func Depth(levels int64, of []int) int {
	for _, d := range of {
		if levels > 0 && levels <= int64(d) {
			return d
		}
	}
	return of[len(of)-1]
}
