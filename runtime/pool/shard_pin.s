//go:build (amd64 || arm64) && !race && !invariants && !nopin

// Empty: it lets functions without a body be declared, which linkname needs.
