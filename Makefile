# Baton. `make demo` shows it, `make test` checks it; both call `make setup`, which installs what a fresh machine lacks.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
MAKEFLAGS += --no-print-directory

# One profile for all. RocksDB is compiled once for all clones and profiles: storage/rocksdb/build.sh.
export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
export BATON_BIN := $(CARGO_TARGET_DIR)/release/baton

# Scenarios run up to five servers each: with plain cargo test, two at a time, as .config/nextest.toml says.
ifneq ($(shell cargo nextest --version 2>/dev/null),)
# nextest does not run the examples in the documentation.
RUN_TESTS = cargo test --release --workspace --doc --quiet && cargo nextest run --release --workspace
RUN_LONG = cargo nextest run --release -p baton-tests -p baton-tools --run-ignored only
RUN_DATABASE = cargo nextest run --release -p baton-tests -p baton-postgres --run-ignored all -E 'binary(/^database/)'
else
RUN_TESTS = cargo test --release --workspace -- --test-threads=2
RUN_LONG = cargo test --release -p baton-tests -p baton-tools -- --ignored --test-threads=2
RUN_DATABASE = cargo test --release -p baton-tests -p baton-postgres --test 'database*' -- --include-ignored --test-threads=2
endif

# What a build needs: for RocksDB a C++ compiler, and libclang with its headers to read RocksDB's.
define MISSING_TO_BUILD
command -v cargo >/dev/null || { echo "Rust is missing: install it from https://rustup.rs" >&2; exit 1; }; \
missing=""; \
command -v c++ >/dev/null || missing="$$missing g++"; \
[ -n "$${LIBCLANG_PATH:-}" ] || compgen -G "/usr/lib/llvm-*/lib/libclang.so" >/dev/null \
    || compgen -G "/usr/lib*/libclang.so" >/dev/null || missing="$$missing libclang-dev"
endef

# What makes the faults of the torture.
define MISSING_FOR_FAULTS
export PATH="$$PATH:/usr/sbin:/sbin"; missing=""; \
{ command -v ip && command -v tc; } >/dev/null || missing="$$missing iproute2"; \
command -v nft >/dev/null || missing="$$missing nftables"
endef

# The PostgreSQL of the tests: each test makes a server of its own. The package would make one, and start it.
define MISSING_FOR_DATABASES
missing=""; compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || command -v initdb >/dev/null || missing="$$missing postgresql"; \
if [ -n "$$missing" ] && command -v apt-get >/dev/null; then \
    sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
    $$sudo mkdir -p /etc/postgresql-common/createcluster.d; \
    echo "create_main_cluster = false" | $$sudo tee /etc/postgresql-common/createcluster.d/baton.conf >/dev/null; \
fi
endef

# Installs what $$missing names, where there is apt-get.
define INSTALL_MISSING
if [ -n "$$missing" ]; then \
	    command -v apt-get >/dev/null || { echo "install with your package manager:$$missing" >&2; exit 1; }; \
	    echo "installing with apt-get:$$missing"; \
	    sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	    $$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; \
	fi
endef

# The packages would start $$services: policy-rc.d forbids it while they are installed, and systemd is told not to start
# them later. What was installed before is left as it is.
define INSTALL_WITHOUT_SERVICES
sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; policy=/usr/sbin/policy-rc.d; \
	if [ ! -e "$$policy" ]; then \
	    trap '$$sudo rm -f "$$policy"' EXIT; \
	    printf '#!/bin/sh\nexit 101\n' | $$sudo tee "$$policy" >/dev/null; $$sudo chmod 755 "$$policy"; \
	fi; \
	$(INSTALL_MISSING); \
	! command -v systemctl >/dev/null || $$sudo systemctl disable --quiet $$services 2>/dev/null || true
endef

# Namespaces, firewalls and mounts are root's to make.
AS_ROOT = sudo=""; [ "$$(id -u)" = 0 ] || sudo="sudo --preserve-env=BATON_BIN"; $$sudo

.PHONY: help setup build programs dist demo demo-database test test-client test-long test-database database-tools simulate bench-failover bench-growth bench-peers bench-parts bench-database-limits torture torture-seeded soak torture-tools peers-installed lint doc prerequisites

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | while IFS=$$'\t' read -r target what; do \
	    printf '%-16s %s\n' "$$target" "$$what"; done

setup: ## installs the packages that building and testing need, with apt-get
	@$(MISSING_TO_BUILD); $(INSTALL_MISSING)
	@$(MISSING_FOR_FAULTS); ( $(INSTALL_MISSING) ) || echo "the short torture will be SKIPPED" >&2
	@( $(MISSING_FOR_DATABASES); $(INSTALL_MISSING) ) || echo "the tests with PostgreSQL will be SKIPPED" >&2

build: prerequisites ## the program, at target/release/baton
	cargo build --release --workspace --bin baton

programs: prerequisites ## the program, the examples, and what measures and makes faults
	cargo build --release --workspace --bins

# Compiled by what of it runs often, which a program that counts found out under the loads of `train`. rustup has the tool
# for what was counted.
DIST := $(CARGO_TARGET_DIR)/dist
dist: programs ## the program as it should run in production, at target/dist/baton: faster than that of `build`
	host="$$(rustc -vV | sed -n 's/^host: //p')"; \
	tool="$$(rustc --print sysroot)/lib/rustlib/$$host/bin/llvm-profdata"; \
	if [ ! -x "$$tool" ]; then \
	    command -v rustup >/dev/null || \
	        { echo "$$tool is missing: it is rustup's component llvm-tools (https://rustup.rs)" >&2; exit 1; }; \
	    rustup component add llvm-tools; \
	fi; \
	compile() { RUSTFLAGS="$$1" CARGO_TARGET_DIR="$(DIST)/$$2" \
	    cargo build --profile dist --target "$$host" --workspace --bin baton; }; \
	counting="$(DIST)/counting/$$host/dist/baton"; \
	compile "-Cprofile-generate=$(DIST)/counts" counting; \
	if [ ! "$(DIST)/profile" -nt "$$counting" ]; then \
	    rm -rf "$(DIST)/counts"; \
	    BATON_BIN="$$counting" "$(CARGO_TARGET_DIR)/release/train"; \
	    "$$tool" merge -o "$(DIST)/profile" "$(DIST)/counts"; \
	fi; \
	compile "-Cprofile-use=$(DIST)/profile" built; \
	cp -f "$(DIST)/built/$$host/dist/baton" "$(DIST)/baton"

demo: ## installs what is missing, builds, and shows failovers on real server processes
	@$(MAKE) setup
	@$(MAKE) build
	"$(BATON_BIN)" demo

demo-database: ## the same with three servers over a PostgreSQL of its own
	@$(MAKE) setup
	@$(MAKE) build
	"$(BATON_BIN)" demo --database

test: ## installs what is missing, builds, and runs all tests; the scenarios run the program that was built
	@$(MAKE) setup
	@$(MAKE) programs
	$(RUN_TESTS)
	@$(MAKE) test-client

# Alone, as a service has it: with all crates in one build, features of the others are on, too.
test-client: ## the client without a server: each combination of features, its tests, the program of docs/embed.md
	for features in "" client client,tls server; do \
	    cargo clippy --release -p baton --no-default-features --features "$$features" -- -D warnings || exit 1; \
	done
	cargo test --release -p baton -p baton-client -p baton-domain --no-default-features --features baton/client
	tests/embed.sh

test-long: build ## what takes too long for every day
	$(RUN_LONG)

test-database: ## the tests with PostgreSQL, those too that take too long for every day
	@$(MAKE) setup
	@$(MAKE) programs database-tools
	BATON_REQUIRE_POSTGRES=1 $(RUN_DATABASE)

# As many schedules of each simulation; BATON_SEED is the first one's seed.
SCHEDULES ?= 2000
simulate: prerequisites ## many more schedules of faults in one process than `make test` tries
	BATON_SCHEDULES=$(SCHEDULES) cargo test --release --workspace --lib -- --ignored --nocapture thousands_of_schedules
	PROPTEST_CASES=$(SCHEDULES) cargo test --release --workspace --lib -- policy::simulation engine::tests::properties

# RUNS of each kind; BACKLOG messages in the store.
RUNS ?= 100
BACKLOG ?= 5000000
bench-failover: dist torture-tools ## failover, planned move and idle cost; writes docs/performance.md
	BATON_BIN="$(DIST)/baton" "$(CARGO_TARGET_DIR)/release/failover" --runs $(RUNS) --backlog $(BACKLOG) --write docs/performance.md

# ROUNDS of all loads in turn.
ROUNDS ?= 3
bench-growth: dist ## what many producers, queues and messages cost, and latency at half load; writes docs/performance.md
	BATON_BIN="$(DIST)/baton" "$(CARGO_TARGET_DIR)/release/bench-growth" --rounds $(ROUNDS) --write docs/performance.md

# ROUNDS of all systems in turn; ARGS for its other options.
bench-peers: dist peers-installed ## Baton beside NATS and RabbitMQ on this machine, and what growth costs; writes docs/performance.md
	BATON_BIN="$(DIST)/baton" "$(CARGO_TARGET_DIR)/release/bench-peers" --rounds $(ROUNDS) $(ARGS) --write docs/performance.md
	@$(MAKE) bench-growth

# The profile of benches is that of releases: nothing is built anew for it but the benches.
bench-parts: prerequisites ## what log, state, engine and policy cost by themselves
	cargo bench --workspace --bench parts

# SECS_EACH seconds for each load, in ROUNDS turns.
SECS_EACH ?= 3
bench-database-limits: programs ## what PostgreSQL itself can do on this machine: appends, copies, snapshots
	"$(CARGO_TARGET_DIR)/release/pg-limit" --rounds $(ROUNDS) --secs $(SECS_EACH) $(ARGS)

# SEEDS runs of SECS seconds of faults each, with seeds from SEED up; ARGS for its other options.
SEEDS ?= 5
SECS ?= 120
SEED ?= 1
ARGS ?=
torture: programs torture-tools ## real servers in network namespaces under seeded faults, as root; checks every invariant
	$(AS_ROOT) "$(CARGO_TARGET_DIR)/release/torture" --seed $(SEED) --runs $(SEEDS) --secs $(SECS) $(ARGS)

# The checker's own test. The program with the defects lies beside the sound one and has another name; the variable
# keeps it from being built in any other way.
torture-seeded: programs torture-tools ## programs with one defect each under the same faults: the checker must catch it
	BATON_BUILD_SEEDED_BUGS=1 cargo build --release --workspace --bin baton-seeded-bugs --features baton-cli/seeded-bugs
	$(AS_ROOT) "$(CARGO_TARGET_DIR)/release/torture-seeded" "$(CARGO_TARGET_DIR)/release/baton-seeded-bugs" --seed $(SEED) $(ARGS)

MINUTES ?= 60
soak: programs torture-tools ## a cluster under load for long, with a fault every minute; writes docs/reliability.md
	$(AS_ROOT) "$(CARGO_TARGET_DIR)/release/soak" --minutes $(MINUTES) --write docs/reliability.md

torture-tools:
	@$(MISSING_FOR_FAULTS); [ -z "$$missing" ] || { echo "missing:$$missing; \`make setup\` installs it" >&2; exit 1; }

peers-installed:
	@missing=""; \
	command -v nats-server >/dev/null || [ -x /usr/sbin/nats-server ] || missing="$$missing nats-server"; \
	[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || missing="$$missing rabbitmq-server"; \
	[ -n "$$missing" ] || exit 0; \
	command -v apt-get >/dev/null || { echo "bench-peers will skip what is not there:$$missing" >&2; exit 0; }; \
	services="$$missing"; command -v epmd >/dev/null || services="$$services epmd"; \
	$(INSTALL_WITHOUT_SERVICES)

database-tools:
	@missing=""; command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || missing="$$missing pgbouncer"; \
	[ -n "$$missing" ] || exit 0; services="$$missing"; \
	( $(INSTALL_WITHOUT_SERVICES) ) || echo "the scenario with pgbouncer will be SKIPPED" >&2

lint: prerequisites
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	@! command -v cargo-deny >/dev/null || cargo deny check bans licenses sources

doc: prerequisites
	RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps

prerequisites:
	@$(MISSING_TO_BUILD); [ -z "$$missing" ] || { echo "missing:$$missing; \`make setup\` installs it" >&2; exit 1; }
	@storage/rocksdb/build.sh
