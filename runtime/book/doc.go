// Package book keeps order books: it decides for every book record whether it
// follows what is there, applies it, checks the exchange's checksum, and says
// what is needed when a book breaks. It is a function of the records that it is
// fed and of nothing else: no clock, no random number, no goroutine, no I/O. The
// same records give the same books, flags and outcomes, whether they come from a
// socket, a journal or a checkpoint and the rest of a journal.
//
// Order: a Book is one instrument's and is fed its book records in the order of
// the journal. Records leave it through the emit function with their verdict in
// the flags (market.FlagApplied, FlagStale, FlagUnsynced, FlagChecksumOK,
// FlagChecksumBad, FlagCrossed), each exactly once. Deltas that came before the
// snapshot which they continue are held, where the rule says that it comes beside
// them: the snapshot leaves first, they follow in their order. While emit runs,
// the book is as it was after the record that emit is given.
//
// Ownership: Apply writes the flags into the record that it is given, which must
// be writable, and copies what it holds. A view that emit is given is valid until
// emit returns. emit must not call into the book it was called from, but for the
// reading methods. Levels are leased from Options.Levels while they are in the
// book: a void one has none, and Close gives back the rest.
//
// Deltas that wait for a snapshot are bounded in number and bytes (Options); when
// one more comes the oldest leaves unsynced. A slow consumer is the business of
// whoever calls: emit returns when the record is taken.
//
// # Levels
//
// Prices are int64 ticks at one scale for the whole book, the greatest that a
// price needed so far. A side is a row of leaves of up to leafSize levels in
// order of price, best first, above a row of their first keys: a change costs two
// short searches and moves at most one leaf, wherever in the book it is. One
// sorted slice of 1,000 levels takes some ten times as long at the end that it
// grows away from, and changes come from everywhere: in the recordings of
// Binance's most active books half of them are deeper than 50 to 230 levels, a
// tenth deeper than 400 to 2,000.
package book
