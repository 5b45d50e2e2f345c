package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/marketprism/marketprism/sdk/fault"
	"github.com/marketprism/marketprism/sdk/schema"
)

// Access is what a plugin process may do beside reading and writing in a
// directory of its own, as far as the kernel can restrict it. The zero value is
// nothing: it holds for sources, and for sinks that are only asked what they are.
type Access struct {
	Writes  []Path
	Connect bool // open TCP connections
	Listen  bool // listen on TCP
	Stdout  bool // write to Options.Stdout
	// Undeclared is of a sink that doesn't say what it needs: it may write and use
	// TCP as this user may.
	Undeclared bool
}

// Path is what a sink writes.
type Path struct {
	Attribute string // that has it as its value
	Path      string
	Target    schema.Target
	Hidden    bool // it is sensitive: errors name the attribute alone
}

// below resolves relative paths and leaves out what lies in a directory that is
// written as a whole: it needs no rule, and a sink that may replace it by a link
// would else choose its own rule for the next start.
func (a Access) below(workDir string) Access {
	paths := slices.Clone(a.Writes)
	for i := range paths {
		if p := &paths[i].Path; filepath.IsAbs(*p) {
			*p = filepath.Clean(*p)
		} else {
			*p = filepath.Join(workDir, *p)
		}
	}
	a.Writes = nil
	for _, p := range paths {
		twice := func(o Path) bool { return o.Path == p.Path && o.Target == p.Target }
		above := func(o Path) bool {
			return o.Target == schema.Directory && o.Path != p.Path && strings.HasPrefix(p.Path, strings.TrimSuffix(o.Path, "/")+"/")
		}
		if !slices.ContainsFunc(paths, above) && !slices.ContainsFunc(a.Writes, twice) {
			a.Writes = append(a.Writes, p)
		}
	}
	return a
}

// prepare makes what the sink writes where it isn't there: a rule needs it. A
// rule for what is above it would let the sink write there as well.
func (a *Access) prepare() error {
	for i := range a.Writes {
		p := &a.Writes[i]
		if err := p.prepare(); err != nil {
			if pe := new(fs.PathError); p.Hidden && errors.As(err, &pe) {
				err = pe.Err
			}
			return fault.Errorf(fault.Stop, "host: %s: what the sink writes can't be made: %w", p.Attribute, err)
		}
	}
	return nil
}

func (p *Path) prepare() error {
	if p.Target == schema.Directory {
		return os.MkdirAll(p.Path, 0o755)
	}
	st, err := os.Stat(p.Path)
	switch {
	case err == nil && st.IsDir():
		return &fs.PathError{Op: "open", Path: p.Path, Err: errors.New("it is a directory, a file is wanted")}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	f, err := os.OpenFile(p.Path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// confines says whether processes are kept to this access by a kernel with this
// version of Landlock. The first version refuses every rename from one directory
// into another, which stores live by.
func (a *Access) confines(version int) bool {
	return !a.Undeclared && (version >= 2 || version == 1 && len(a.Writes) == 0)
}

// String says what a confined process may do.
func (a *Access) String() string {
	may := []string{}
	for _, p := range a.Writes {
		name := p.Path + " (" + p.Attribute + ")"
		if p.Hidden {
			name = p.Attribute
		}
		if p.Target == schema.Directory {
			name = "below " + name
		}
		may = append(may, name)
	}
	text := "it may write nothing"
	if len(may) > 0 {
		text = "it may write " + strings.Join(may, ", ") + " and nothing else"
	}
	switch {
	case a.Connect && a.Listen:
		return text
	case a.Connect:
		return text + ", and may not listen on TCP"
	case a.Listen:
		return text + ", and may not open TCP connections"
	}
	return text + ", and may not use TCP"
}

// explain adds to an error of a confined process, if something was denied to it,
// what isn't.
func (a *Access) explain(err error) error {
	if err == nil || !a.denied(err.Error()) {
		return err
	}
	return fmt.Errorf("%w%s", err, a.hint())
}

// denied says whether a text may be of a denied write or connection, and has no
// hint yet.
func (a *Access) denied(text string) bool {
	return a.confines(landlockVersion()) && strings.Contains(strings.ToLower(text), "permission denied") && !strings.Contains(text, hintHead)
}

const hintHead = "; the plugin is confined to what its manifest declares: "

func (a *Access) hint() string {
	return hintHead + a.String() + ". If that is in the way, give the path itself, not a link below another one, in such an attribute, or have the plugin declare more (schema.Attribute.Writes, sink.Access)"
}
