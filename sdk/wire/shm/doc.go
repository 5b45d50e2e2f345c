// Package shm is the shared-memory side of the journal: the layout of its
// segments, a read-only Reader over them, and the control block and doorbell
// through which a reader in another process pins what it reads, tells how far
// it is, and sleeps. A plugin process needs this package alone; the writer is
// runtime/journal.
//
// # Order
//
// A journal is a directory of segment files. One writer appends; readers see
// records in the order of appending, whole or not at all. A Position is the
// logical address of a record's first byte over all segments of a journal: it
// only grows, is a multiple of eight, and is never used twice. The file
// offset of a record is its position less the segment's base position, so
// file names (the base in hexadecimal) sort as the records do.
//
// # Commit
//
// The writer fills a record, zeroes the commit word after it, and then stores
// the record's own commit word with release order. A zero commit word is
// therefore the end of what is written. The word holds the payload's length
// and a tag of the position, so that bytes left from an earlier use of the
// segment can't pass for a record; the CRC32C is seeded with epoch and
// position, so that neither can a whole old record.
//
// # Ownership
//
// The writer owns the segments and the host half of a control block; the
// reader owns its pin, its cursor and its parked flag. A payload that Next
// returns lies in the mapping itself: it is valid until the reader's pin
// passes it (Advance, Release) or the reader is closed. The host trusts no
// value that a plugin's control block holds: a wrong pin or cursor hurts the
// plugin that wrote it and nobody else, and ringing never blocks.
//
// # Slow readers
//
// A slow reader delays nobody. Segments that retention drops are unlinked; a
// reader that has them mapped reads them to their end and then gets
// ErrLapped, which names what it missed. A segment's file is used again only
// when no pin is at or below its end and no reader holds the file's shared
// lock, which each takes with its mapping: the pin says what is needed, the
// lock can't be wrong.
//
// # Platforms
//
// Linux on little-endian machines (amd64, arm64). The package compiles
// elsewhere, and every constructor there returns errors.ErrUnsupported; other
// systems carry the same record bytes over gRPC.
package shm
