// Package flow is what stands between the journals: the lane that turns a
// feed's decoded frames into its records, and the drivers that hand records to
// sinks.
//
// Order: a lane is fed the entries of one plugin process in the order of the
// frames journal, by one goroutine. What it emits is a function of the frames
// journal alone: it reads no clock and no random number, so a replay gives the
// same bytes and a restart resumes where it was. Records of one instrument
// leave in the order of their frames, except that book updates which came
// before their snapshot leave behind it.
//
// Ownership: the bytes of an entry belong to the lane until Process returns; it
// changes them in place (ids, flags) and copies what it keeps.
//
// A slow lane delays nobody but its own feed: undecoded frames wait in the
// frames journal. A slow sink delays nobody at all: its cursor lags.
package flow
