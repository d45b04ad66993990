# Two commands for everybody: make demo, make test. `make help` lists the rest.

SHELL := /bin/bash
GO    ?= go
TAGS  := libzmq
# What a test run covers; a narrower one: make test PKGS=./sniff/...
PKGS  ?= ./...
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 30s

.PHONY: help build demo demo-migration demo-tmux test conformance soak fuzz bench bench-short proto picture deps fmt lint

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## bin/gateway and the demo's peers
	$(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/ ./cmd/gateway ./demo/peers/... ./demo/browser/...

demo: ## the main job, with embedded peers and no configuration
	$(GO) run ./cmd/gateway demo

demo-migration: build ## from ZeroMQ to gRPC in five stages, under live traffic; see docs/MIGRATING.md
	$(GO) run ./demo/migration -gateway bin/gateway

demo-tmux: ## the same as separate programs, in one tmux session
	./demo/tmux.sh

test: deps lint ## everything that must hold, with the real peers
	$(GO) test -race -tags $(TAGS) -timeout 7m $(PKGS)
	$(GO) test -run CostsOneAllocation ./backends/grpcproxy # which the race detector would disturb

conformance: deps ## gRPC and HTTP/2 as connectrpc's suite and h2spec judge them, beside HAProxy
	$(GO) test -tags $(TAGS) -count=1 -v -run 'TestGRPCConformance|TestH2Spec' ./internal/e2e

soak: deps ## the same cases at full size; writes SOAK.txt
	./.ci/soak $(TAGS)

fuzz: ## each fuzz target for FUZZTIME
	@set -e; for dir in $$($(GO) list -f '{{.Dir}}' ./...); do \
	  for target in $$(cat $$dir/*_test.go 2>/dev/null | grep -ohE '^func Fuzz[A-Za-z0-9_]+' | sed 's/^func //'); do \
	    echo "== $$target ($$dir)"; (cd $$dir && $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) .); \
	  done; done

bench: deps build ## against HAProxy, nginx, sslh and a C floor; writes docs/BENCHMARKS.md
	$(GO) run -tags $(TAGS) ./demo/bench

bench-short: deps build ## the same in three minutes
	$(GO) run -tags $(TAGS) ./demo/bench -short

proto: ## generate code from proto/
	./.ci/deps protobuf-compiler:protoc
	$(GO) build -o bin/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	PATH="$(CURDIR)/bin:$$PATH" protoc --proto_path=proto --go_out=. --go_opt=module=gateway --go-grpc_out=. --go-grpc_opt=module=gateway \
	  $$(find proto -name '*.proto')

picture: deps ## the pictures in the README, taken anew: the browser demo's page and the admin page
	GATEWAY_E2E_PICTURE=$(CURDIR)/docs/img/browser.png GATEWAY_E2E_ADMIN_PICTURE=$(CURDIR)/docs/img/page.png \
	  $(GO) test -tags $(TAGS) -count=1 -run 'TestDemoPageInABrowser|TestOperatorSeesLive' ./internal/e2e

deps: ## install what the tests need, or say how
	./.ci/deps

fmt: ## gofmt, and the configuration files
	gofmt -w $$(git ls-files '*.go')
	$(GO) run ./cmd/gateway fmt -w -config gateway.hcl
	$(GO) run ./cmd/gateway fmt -w -config demo/full.hcl

lint: ## go vet, gofmt, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "gofmt would change: $$unformatted"; echo "Run: make fmt"; exit 1; fi
	$(GO) vet $(PKGS)
	$(GO) vet -tags $(TAGS) $(PKGS)
	$(GO) tool staticcheck -tags $(TAGS) $(PKGS)
