# The targets that CI calls are the ones that people call.
GO      ?= go
BIN     := bin/marketprism
PKGS    := ./...
FUZZ    ?= 60s
KILLS   ?= 500
export CGO_ENABLED ?= 0

.PHONY: build quickstart test check vet docs monitoring race invariants fuzz bench bench-e2e bench-layers soak kill clean

build:
	$(GO) build -trimpath -o $(BIN) ./cmd/marketprism

# The main job on synthetic data: a simulator, a pipeline, live progress for a
# bounded time, and what was collected.
quickstart: build
	@$(BIN) quickstart

# All tests, as CI runs them.
test: vet
	$(GO) test -timeout 20m $(PKGS)
	$(GO) test -tags invariants ./runtime/pool

vet:
	@out=$$(gofmt -l cmd runtime sdk plugins *.go); if [ -n "$$out" ]; then echo "not gofmt-ed:"; echo "$$out"; exit 1; fi
	$(GO) vet $(PKGS)

check: test

# What is generated from the code: a test fails where it is old.
docs: build
	$(BIN) metrics doc > docs/metrics.md
	$(BIN) venues doc > docs/venues.md

# Alert and recording rules, with their unit tests; the tests do it as well.
monitoring:
	docs/monitoring/check.sh

# The race detector needs a C compiler.
race:
	CGO_ENABLED=1 $(GO) test -race -short -timeout 30m ./sdk/... ./runtime/... ./plugins/...

# Double returns, uses after return and leaks of pooled objects panic in this build.
invariants:
	$(GO) test -tags invariants -count=1 -timeout 20m ./runtime/pool ./runtime/book ./runtime/flow ./runtime/process ./runtime/conn ./runtime/host ./runtime/engine

fuzz:
	@for f in $$(grep -rl '^func Fuzz' --include=*_test.go sdk runtime plugins); do \
	  for n in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$f); do \
	    echo "$$n in $$(dirname $$f)"; $(GO) test -run xxx -fuzz "^$$n$$" -fuzztime $(FUZZ) ./$$(dirname $$f) || exit 1; done; done

bench:
	$(GO) test -run xxx -bench . -benchmem ./sdk/... ./runtime/... ./plugins/...

# End to end: emulator, runtime, source plugin, book, null sink.
bench-e2e: build
	$(BIN) bench e2e

# Every resource layer off and on, beside the earlier system; the README's picture.
# It fails where a floor is missed.
bench-layers: build
	$(BIN) bench layers --svg docs/bench-layers.svg

# An hour under varying load in real time, without a false alarm; the tests do the
# same, shortened.
soak:
	$(GO) test -count=1 -run MemorySoak ./cmd/marketprism -timeout 90m -soak 1h -soak-scale 1

# kill -9 in loops, longer than the tests do.
kill: build
	$(GO) test -count=1 -timeout 60m -run 'Kill' ./cmd/marketprism ./runtime/journal -kills $(KILLS)

clean:
	rm -rf bin data lake
