//go:build (amd64 || arm64) && !race && !invariants

// Empty: it lets functions without a body be declared, which linkname needs.
