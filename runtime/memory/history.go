package memory

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// History is a directory of snapshots: one gzipped JSON file each, named by its
// time. Files are written beside their place and renamed into it.
type History struct {
	dir     string
	keep    int
	keepMax int64
}

const (
	snapshotExt = ".json.gz"
	// maxSnapshot bounds what a file may hold, unpacked.
	maxSnapshot = 64 << 20
)

// ErrUnknown says that the history has no such snapshot.
var ErrUnknown = errors.New("memory: no such snapshot")

// OpenHistory opens or makes a history that keeps so many snapshots and bytes.
func OpenHistory(dir string, keep int, bytes int64) (*History, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("memory: history: %w", err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".new-*")) // of a process that was killed
	for _, name := range left {
		if err := os.Remove(name); err != nil {
			return nil, fmt.Errorf("memory: history: %w", err)
		}
	}
	return &History{dir: dir, keep: cmp.Or(keep, 200), keepMax: cmp.Or(bytes, 64<<20)}, nil
}

// ReadHistory opens a history to be read, while a runtime uses it or after.
func ReadHistory(dir string) (*History, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("memory: history: %w", err)
	}
	return &History{dir: dir}, nil
}

// Entry is a snapshot in the history.
type Entry struct {
	ID    string `json:"id"`
	Bytes int64  `json:"bytes"` // of its file
}

// List returns all snapshots, the oldest first.
func (h *History) List() ([]Entry, error) {
	files, err := os.ReadDir(h.dir)
	if err != nil {
		return nil, fmt.Errorf("memory: history: %w", err)
	}
	var out []Entry
	for _, f := range files {
		id, ok := strings.CutSuffix(f.Name(), snapshotExt)
		if !ok {
			continue
		}
		if st, err := f.Info(); err == nil { // else it was dropped this moment
			out = append(out, Entry{id, st.Size()})
		}
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// Get reads one: by its id, a unique beginning of it, or "latest", "first" or
// "previous".
func (h *History) Get(id string) (*Snapshot, error) {
	all, err := h.List()
	if err != nil {
		return nil, err
	}
	i, err := find(all, id)
	if err != nil {
		return nil, err
	}
	name := filepath.Join(h.dir, all[i].ID+snapshotExt)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s was dropped this moment", ErrUnknown, all[i].ID)
	}
	if err != nil {
		return nil, fmt.Errorf("memory: history: %w", err)
	}
	s, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("memory: history: %s: %w: remove the file", name, err)
	}
	return s, nil
}

func find(all []Entry, id string) (int, error) {
	n := len(all)
	switch {
	case n == 0:
		return 0, fmt.Errorf("%w: the history is empty", ErrUnknown)
	case id == "latest":
		return n - 1, nil
	case id == "first":
		return 0, nil
	case id == "previous" && n > 1:
		return n - 2, nil
	}
	at := -1
	for i := range all {
		if all[i].ID == id {
			return i, nil
		}
		if id != "" && strings.HasPrefix(all[i].ID, id) {
			if at >= 0 {
				return 0, fmt.Errorf("%w: %q begins the ids %s and %s: give more of it", ErrUnknown, id, all[at].ID, all[i].ID)
			}
			at = i
		}
	}
	if at < 0 {
		return 0, fmt.Errorf("%w: %q; there are %d, from %s to %s", ErrUnknown, id, n, all[0].ID, all[n-1].ID)
	}
	return at, nil
}

func decode(b []byte) (*Snapshot, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	s := new(Snapshot)
	if err := json.NewDecoder(io.LimitReader(z, maxSnapshot)).Decode(s); err != nil {
		return nil, err
	}
	if s.Version != snapshotVersion {
		return nil, fmt.Errorf("it has version %d, this program reads %d", s.Version, snapshotVersion)
	}
	return s, nil
}

// Put writes a snapshot and drops the oldest beyond the bounds. The newest stays
// whatever its size.
func (h *History) Put(s *Snapshot) error {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed) // the level is valid
	if err := json.NewEncoder(z).Encode(s); err != nil {
		return fmt.Errorf("memory: history: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("memory: history: %w", err)
	}
	if err := h.write(s.ID+snapshotExt, b.Bytes()); err != nil {
		return fmt.Errorf("memory: history: %w", err)
	}
	return h.trim()
}

func (h *History) write(name string, b []byte) (err error) {
	f, err := os.CreateTemp(h.dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(h.dir, name))
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

func (h *History) trim() error {
	all, err := h.List()
	if err != nil {
		return err
	}
	var total int64
	for _, e := range all {
		total += e.Bytes
	}
	var errs []error
	for len(all) > 1 && (len(all) > h.keep || total > h.keepMax) {
		errs = append(errs, os.Remove(filepath.Join(h.dir, all[0].ID+snapshotExt)))
		total -= all[0].Bytes
		all = all[1:]
	}
	return errors.Join(errs...)
}
