# make demo    build, start the lab, walk through it
# make test    all tests, against real servers where they are installed
# make help    the rest

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
BUILD   := $(GO) build -buildvcs=false -trimpath -ldflags "$(LDFLAGS)"

STATICCHECK := $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.1
GOVULNCHECK := $(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0

# The race detector needs a C compiler; continuous integration has one.
RACE := $(shell command -v gcc >/dev/null 2>&1 && echo -race)
UNIT  = $(shell $(GO) list ./... | grep -v /integration)

# Programs that scripts/build-test-peers.sh has built.
PEERS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tshx/peers

PLATFORMS := linux/arm64 darwin/arm64 windows/amd64

.PHONY: help build demo test peers unit integration lint bench soak fuzz cross clean

build: ## bin/tshx and bin/tshx-lab, static and stripped
	CGO_ENABLED=0 $(BUILD) -o bin/ ./cmd/tshx ./cmd/tshx-lab

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

demo: build ## start the lab and walk through it: ssh, a database, apps, Kubernetes, AWS, an agent
	@bin/tshx-lab demo --tshx bin/tshx

test: peers ## vet, unit tests, integration tests
	$(GO) vet ./...
	$(MAKE) --no-print-directory -k unit integration

# As an ordinary user on a laptop nothing is installed; what is missing there
# is skipped by name.
peers:
	@if [ -n "$$CI" ] || [ "$$(id -u)" = 0 ]; then sh scripts/install-test-peers.sh; \
	else sh scripts/install-test-peers.sh --check; fi

unit: ## unit tests only
	PATH="$$PATH:$(PEERS)" $(GO) test $(RACE) -shuffle=on -timeout 10m $(UNIT)

integration: ## tests of the built program against real servers only
	$(GO) test -count=1 -shuffle=on -timeout 40m -p 1 ./integration/...

lint: ## gofmt, vet, staticcheck, govulncheck, go.mod
	@bad=$$(gofmt -l cmd internal integration); [ -z "$$bad" ] || { echo "gofmt: $$bad" >&2; exit 1; }
	$(GO) vet ./...
	$(STATICCHECK) ./...
	$(GO) mod tidy -diff
	@sh scripts/vulncheck.sh $(GOVULNCHECK) ./cmd/...

bench: peers ## the figures of docs/benchmarks.md, beside stunnel and HAProxy
	$(GO) test -run '^$$' -bench 'Peers|Ways|SSH$$' -benchtime 1x -timeout 30m ./integration
	$(GO) test -run '^$$' -bench '^BenchmarkStart$$|Connect$$' -benchtime 20x ./integration
	$(GO) test -run '^$$' -bench 'KubeRequest|Kubectl' -benchtime 20x ./integration
	$(GO) test -run '^$$' -bench 'KubeWatches' -benchtime 1x ./integration
	$(GO) test -run '^$$' -bench 'SSHCommand' -benchtime 20x ./integration
	$(GO) test -run '^$$' -bench 'AgentThroughput' -benchtime 3x ./integration
	$(GO) test -run '^$$' -bench 'AgentConnection' -benchtime 200x ./integration
	$(GO) test -run '^$$' -bench 'Request|Post' ./internal/appproxy ./internal/httproute
	$(GO) test -run '^$$' -bench 'PeerUID|Admit' ./internal/sockets ./internal/localproxy
	$(GO) test -count=1 -run 'TestWarmSavesRoundTrips' -v ./integration

SOAK ?= -soak.count 20000 -soak.time 5m

soak: ## random connections, cuts, balancers and certificates; SOAK="-soak.count N -soak.time T"
	$(GO) test -count=1 -timeout 0 -run 'TestSoak$$' -v ./integration -args $(SOAK)

fuzz: ## each fuzz target for a moment; FUZZ=1m for longer
	sh scripts/fuzz.sh $(FUZZ)

cross: ## does everything build for every platform
	@for p in $(PLATFORMS); do \
		echo "build $$p"; \
		GOOS=$${p%/*} GOARCH=$${p#*/} CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath ./cmd/... || exit 1; \
	done

clean: ## remove what build made
	rm -rf bin dist
