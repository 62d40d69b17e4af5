# make test        everything: format, vet, staticcheck, unit tests with the race detector, and the real kernels
# make test-unit   the tests that need nothing but Go
# make test-long   the tests on real kernels, with more random cases
# make mutations   breaks each scheduler in typical ways and sees a test fail
# make check       format, vet for three systems, staticcheck
# make kernel-6.1  the tests on one real kernel
# make bench       benchmarks of the hot paths
# make bench-kernel  counts the instructions of big tables on a real kernel, and those of other programs
# make fuzz        every fuzz target for FUZZ executions

SHELL   := bash
FUZZ    ?= 200000x
TOOLS   := internal/tools
CODE    := $(filter-out ./$(TOOLS),$(patsubst %/go.mod,%,$(sort $(shell find . -name go.mod -not -path '*/testdata/*'))))

.PHONY: test test-unit test-long check prepare kernels mutations bench bench-kernel fuzz

test: prepare check test-unit kernels

prepare:
	@.ci/prepare

check: bin/staticcheck
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "not formatted:"; echo "$$unformatted"; exit 1; }
	@for m in $(CODE); do (cd $$m && go vet ./... && $(CURDIR)/bin/staticcheck ./...) || exit 1; done
	@GOOS=linux GOARCH=s390x go vet ./...
	@GOOS=darwin go vet ./...

test-unit:
	@for m in $(CODE); do (cd $$m && if command -v gcc >/dev/null; then go test -race ./...; else go test ./...; fi) || exit 1; done
	@go test -v -run '^TestMemory$$' ./ipvs/ipvstest | grep '^conformance:'

# Both kernels side by side; vm knows which ones this system offers.
kernels: bin/vm
	@names=$$(bin/vm -kernels) && test -n "$$names" && bin/vm -fetch && \
		rm -f bin/failed-* && $(MAKE) --no-print-directory -kj2 $$(printf 'kernel-%s ' $$names) || \
		{ echo "what failed:"; cat bin/failed-* 2>/dev/null; exit 1; }

test-long:
	@LVS_LONG=1 LVS_PICKS=100000 TESTTIME=90m $(MAKE) kernels

mutations:
	go test -tags mutation -run TestMutationsAreCaught -timeout 30m -v ./sched

kernel-%: bin/vm
	@.ci/kernel-test $* $(TESTFLAGS)

bin/vm: $(wildcard internal/vm/*.go) internal/vm/go.mod
	@CGO_ENABLED=0 go build -C internal/vm -o $(CURDIR)/bin/vm .

bin/staticcheck: $(TOOLS)/go.mod
	@go build -C $(TOOLS) -o $(CURDIR)/bin/staticcheck honnef.co/go/tools/cmd/staticcheck

bench:
	go test -run '^$$' -bench . -benchmem ./...

bench-kernel: prepare bin/vm
	@.ci/bench-kernel

fuzz:
	@for p in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
		echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZ) $$p || exit 1; done; done
