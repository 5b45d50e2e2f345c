package shm

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

// TestLayoutIsPinned fails when the bytes of a record or a header change: that
// needs a new LayoutVersion.
func TestLayoutIsPinned(t *testing.T) {
	mem := make([]byte, 96)
	Put(mem, 8, 3, 4104, Header{Kind: 2, Conn: 0x010203, Wall: 0x1122334455667788, Mono: -2}, []byte("market"), []byte("prism"))
	want := "0000000000000000" + // before it
		"0b000000c1655769" + // length, tag
		"03020102608ad882" + // connection, kind, checksum
		"8877665544332211" + "feffffffffffffff" + // wall, mono
		hex.EncodeToString([]byte("marketprism")) + "0000000000" + // padded
		"0000000000000000" // the next commit word
	got := hex.EncodeToString(mem[:8+RecordBytes(11)+8])
	if got != want {
		t.Errorf("record\n%s, want\n%s", got, want)
	}
	h := SegmentHeader{Epoch: 1, Base: 8192, Size: 65536, Prev: 4096, Journal: 7, Created: 9, Bounded: true, Boot: [16]byte{1, 2}}
	seg := make([]byte, 65536)
	PutSegmentHeader(seg, h)
	back, err := ParseSegmentHeader(seg, 65536)
	if err != nil || back != h {
		t.Errorf("header came back as %+v (%v)", back, err)
	}
	for i := range hdrCRC + 4 {
		seg[i] ^= 1
		if _, err := ParseSegmentHeader(seg, 65536); !errors.Is(err, ErrDamaged) {
			t.Errorf("with byte %d changed: %v", i, err)
		}
		seg[i] ^= 1
	}
	if _, err := ParseSegmentHeader(seg, 65536+4096); !errors.Is(err, ErrDamaged) {
		t.Errorf("in a longer file: %v", err)
	}
	SetMark(seg, MarkSynced, 12345)
	if GetMark(seg, MarkSynced) != 12345 || GetMark(seg, MarkSealed) != 0 {
		t.Error("marks")
	}
	seg[MarkSynced] ^= 1
	if GetMark(seg, MarkSynced) != 0 {
		t.Error("a damaged mark was believed")
	}
	if name := SegmentName(8192); name != "0000000000002000.seg" {
		t.Errorf("segment name %s", name)
	}
}

// TestEveryByteIsChecked changes each bit of a record: none goes unnoticed.
func TestEveryByteIsChecked(t *testing.T) {
	for _, n := range []int{0, 5, 8, 250} {
		mem := make([]byte, 4096)
		Put(mem, 0, 9, 800, Header{Kind: 2, Conn: 3, Wall: 4, Mono: 5}, bytes.Repeat([]byte{7}, n), nil)
		if rec, _, ok := At(mem, 0, 9, 800); !ok || len(rec.Payload) != n {
			t.Fatalf("%d bytes: unreadable", n)
		}
		for bit := range int(RecordBytes(n)) * 8 {
			mem[bit/8] ^= 1 << (bit % 8)
			if _, _, ok := At(mem, 0, 9, 800); ok {
				t.Errorf("%d bytes: bit %d is not checked", n, bit)
			}
			mem[bit/8] ^= 1 << (bit % 8)
		}
		if _, _, ok := At(mem, 0, 10, 800); ok {
			t.Error("read in another epoch")
		}
		if _, _, ok := At(mem, 0, 9, 808); ok {
			t.Error("read at another position")
		}
	}
}

// FuzzAt reads whatever bytes at any place: it never panics, and Find only
// returns what At reads.
func FuzzAt(f *testing.F) {
	mem := make([]byte, 512)
	Put(mem, 64, 1, 64, Header{Kind: 1}, []byte("payload"), nil)
	f.Add(mem)
	f.Fuzz(func(t *testing.T, in []byte) {
		b := make([]byte, len(in)&^7+64)
		copy(b, in)
		for off := uint64(0); off < uint64(len(b)); off += 8 {
			rec, _, ok := At(b, off, 1, 0)
			if ok && rec.End() > uint64(len(b)) {
				t.Fatal("record beyond the memory")
			}
		}
		if off, ok := Find(b, 0, uint64(len(b)), 1, 0); ok {
			if _, _, ok := At(b, off, 1, 0); !ok {
				t.Fatal("found what can't be read")
			}
		}
	})
}
