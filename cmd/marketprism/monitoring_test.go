package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// promtool is Prometheus' own checker, which docs/monitoring/check.sh finds or
// fetches; empty where there is none, which is an error in CI.
func promtool(t *testing.T) string {
	t.Helper()
	var said bytes.Buffer
	cmd := exec.Command("../../docs/monitoring/check.sh", "--where")
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no promtool: %v\n%s", err, said.Bytes())
		}
		t.Logf("no promtool: %v\n%s", err, said.Bytes())
		return ""
	}
	return strings.TrimSpace(string(out))
}

func runTool(tool string, in io.Reader, args ...string) ([]byte, error) {
	cmd := exec.Command(tool, args...)
	cmd.Stdin = in
	return cmd.CombinedOutput()
}
