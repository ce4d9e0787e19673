# qtap: two commands do everything on a fresh Debian 12 or Ubuntu 22.04+ as root:
#   make run     installs what is missing, builds, starts capturing
#   make test    installs what the tests need, runs them all
SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(PATH)

QTAP := target/release/qtap

.PHONY: run build test lint unit e2e churn kernel test-kernels fuzz miri bench install clean setup setup-tests setup-bench

# Only the agent writes to standard output, so that it can be piped.
run: build
	@exec $(QTAP) $(ARGS)

build: setup
	@cargo build --release --locked -p qtap

test: setup-tests lint unit e2e kernel fuzz

lint: setup
	scripts/lint

unit: setup-tests
	cargo test --workspace --exclude qtap-e2e --locked

e2e: setup-tests build
	scripts/e2e

# 100,000 TLS connections of one process, read by secrets, and 20,000 by calls: some minutes.
churn: setup-tests build
	QTAP_BIN=$(abspath $(QTAP)) QTAP_E2E_TLS_CONNECTIONS=100000 cargo test -p qtap-e2e --locked --test churn -- --test-threads=1 --nocapture

# The oldest kernel, which has the build of its own.
kernel: setup-tests build
	scripts/test-kernels 5.10

test-kernels: setup-tests build
	scripts/test-kernels $(KERNELS)

fuzz: setup-tests
	scripts/fuzz $(FUZZ_SECONDS)

miri: setup
	scripts/miri

# Some benchmarks alone: make bench BENCH='throughput plain --rounds 3'
bench: setup-bench build
	cargo build --release --locked -p qtap-replay -p qtap-parsers
	bench/run $(BENCH)

install: build
	install -D -m 0755 $(QTAP) $(DESTDIR)/usr/local/bin/qtap

setup:
	@scripts/setup build

setup-tests:
	scripts/setup tests

setup-bench:
	scripts/setup bench

clean:
	cargo clean
