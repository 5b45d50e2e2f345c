// Package journal is the writer of a journal: an append-only, memory-mapped
// log that is at once the queue between the runtime and its plugins, the
// crash log, the raw capture and the input of a replay. Readers, the record
// layout and the commit protocol are in sdk/wire/shm.
//
// # Order
//
// The order of appending is the journal's order. Append holds one short lock,
// makes no system call under it, allocates nothing, and is safe for use by
// several goroutines. When it returns, readers can see the record (with Ring,
// sleeping ones are woken) and the record survives what the journal's Sync
// says:
//
//   - "process": the death of any process, kill -9 included, because pages
//     written to a shared mapping are the kernel's. A power failure may take
//     what the kernel hadn't written back yet (up to half a minute).
//   - "50ms" (any interval): the same, and a power failure takes no more than
//     what was appended in the last interval and the sync under way. Run does
//     the syncing.
//   - "always": Append returns when its record is on the disk, and readers
//     see it not before. Appends that wait at the same time share one sync.
//
// # Segments
//
// Segments are preallocated, so that a full disk is an error from Append and
// not a fault in it. A record that doesn't fit into SegmentBytes gets a
// segment sized for it. Each Open begins a new segment in a new epoch, above
// everything that was there and above Options.Above.
//
// # Ownership
//
// One Journal owns a directory, by a lock that dies with the process. Work in
// the background is Run's: populating pages ahead, preallocating and retention
// in its own goroutine, syncing at an interval in a second one, so that a slow
// disk holds up neither. Without Run, Append does itself what it can't do
// without, only slower, and nothing is synced at an interval.
//
// # Slow readers and full disks
//
// Nothing waits for a reader. Above MaxBytes the oldest segment goes, pinned
// or not: its file is used again if nobody can touch it, else it is unlinked,
// and a reader that comes late gets shm.ErrLapped. A holder (Hold) keeps
// segments from going by age, and up to its own limit from going by size; one
// that is passed by all the same is reported. When no segment can be
// allocated, Append refuses with ErrDiskFull and tries again by itself; what
// was appended stays, and AppendReserved still has a reserved segment to
// write the gap into.
//
// # Recovery
//
// Open treats each segment by itself. A sealed and synced one is taken as it
// is (readers check every record anyway). Others are walked. Within the
// trusted part a damaged record is skipped and counted: recovery scans
// forward, eight bytes at a time, for a commit word whose tag is that of its
// own position and whose record's checksum holds, because the length of a
// damaged record can't be believed. Trusted is what lies below the persisted
// synced mark, and, in the same boot of the machine (kill -9, not power
// failure), everything below the tail hint. Beyond it the first word that is
// no whole record is the end: commit words after it are zeroed.
package journal
