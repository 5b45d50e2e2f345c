// Package corpus finds the recordings that tests run against.
package corpus

import (
	"os"
	"path/filepath"
)

// EnvCorpus names the directory of recordings that tests run against; without it
// they look in ../shared/corpus beside the module's root.
const EnvCorpus = "MARKETPRISM_CORPUS"

// TB is what Path needs of a *testing.T, so that programs that replay captures
// don't link the testing package.
type TB interface {
	Helper()
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Path gives a path inside the corpus of recordings. Without the corpus the
// test is skipped with the reason, except with CI=true, where that is a failure.
func Path(t TB, elem ...string) string {
	t.Helper()
	dir := os.Getenv(EnvCorpus)
	if dir == "" {
		if root, err := moduleRoot(); err == nil {
			dir = filepath.Join(root, "..", "shared", "corpus")
		}
	}
	path := filepath.Join(append([]string{dir}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the corpus is missing: %v; set %s", err, EnvCorpus)
		}
		t.Skipf("no corpus: %v; set %s to run this test", err, EnvCorpus)
	}
	return path
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", os.ErrNotExist
		}
		dir = up
	}
}
