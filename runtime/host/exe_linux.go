package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/marketprism/marketprism/sdk/fault"
)

// maxExecutable bounds a third-party plugin's executable.
const maxExecutable = 1 << 30

// sealedCopy copies an executable into a memfd, seals it against any change and
// hashes what it holds then. The process is run from that very descriptor: what
// was verified is what runs, whatever happens to the path.
func sealedCopy(path, want string) (*os.File, error) {
	src, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("host: plugin executable: %w", err)
	}
	defer src.Close()
	st, err := src.Stat()
	if err != nil {
		return nil, fmt.Errorf("host: plugin executable: %w", err)
	}
	if !st.Mode().IsRegular() || st.Size() > maxExecutable {
		return nil, fault.Errorf(fault.Stop, "host: plugin executable %s: %s of %d bytes is no program", path, st.Mode().Type(), st.Size())
	}
	const mfdExec = 0x10 // MFD_EXEC, from Linux 6.3 on
	fd, err := unix.MemfdCreate("marketprism-plugin", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|mfdExec)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("marketprism-plugin", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("host: plugin executable %s: create memfd: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	fail := func(err error) (*os.File, error) {
		f.Close()
		return nil, err
	}
	if _, err := io.Copy(f, io.LimitReader(src, maxExecutable)); err != nil {
		return fail(fmt.Errorf("host: plugin executable %s: copy: %w", path, err))
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL); err != nil {
		return fail(fmt.Errorf("host: plugin executable %s: seal: %w", path, err))
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, maxExecutable)); err != nil {
		return fail(fmt.Errorf("host: plugin executable %s: hash: %w", path, err))
	}
	if got := hex.EncodeToString(h.Sum(nil)); want != "" && !strings.EqualFold(got, want) {
		return fail(fault.Errorf(fault.Stop, "host: plugin executable %s has SHA-256 %s, the pipeline pins %s: "+
			"restore the pinned version, or change sha256 in required_plugins if the change is meant", path, got, strings.ToLower(want)))
	}
	return f, nil
}
