// Package market is the vocabulary of MarketPrism: instruments, the kinds of
// record, exact decimals and the binary layout in which records cross process
// boundaries and lie in journals. It imports the standard library alone, and
// everything else imports it.
//
// A record is a flat run of bytes, little-endian, 8-aligned: a header of
// HeaderSize bytes, a body whose fields the kind fixes (Fields lists them with
// their offsets), then the variable part (texts and book levels) that body
// fields point into. Producers fill a struct (Trade, Book, BBO, …) and call its
// AppendTo; consumers check foreign bytes once with Validate and read them in
// place through a View. Neither allocates. Layout is versioned by LayoutVersion
// and pinned by tests: a change of any offset is a new version.
//
// Buffers: AppendTo copies everything it is given. A View aliases the bytes it
// was made of and is valid as long as they are.
package market
