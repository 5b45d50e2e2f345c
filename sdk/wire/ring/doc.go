// Package ring holds the two shared-memory channels between the runtime and a
// plugin process beside the journals: the record ring, through which a source
// hands over what it decoded, and the mailbox, through which a sink is told
// what to write and answers. Both ends of each stand here side by side.
//
// # Order
//
// The record ring has one producer (the plugin) and one consumer (the
// runtime). An entry is all that one frame gave; entries come out in the order
// of the frames, whole or not at all. The producer publishes entries first and
// the position up to which it has decoded second, so that a consumer that sees
// the position finds everything below it. The mailbox answers in the order of
// the requests.
//
// # Ownership
//
// Each word is written by one side. The memory is a memfd that is sealed
// against resizing before it leaves the runtime: a plugin that could shrink it
// would kill the runtime by SIGBUS. The consumer copies an entry before it
// looks at it and believes nothing that it copied: lengths, cursors and
// positions are checked, and ErrGarbage names what was wrong.
//
// # A slow consumer
//
// A full ring holds the producer; frames then wait in the journal. A mailbox
// has Slots requests at most; Submit says when it is full.
//
// # Waking
//
// A side that sleeps says so in a shared word first and looks once more. The
// other side rings its doorbell (a pipe) only then, so that a busy channel
// costs no system call.
package ring

// Version is the version of both layouts; it is checked when a plugin starts.
const Version = 1
