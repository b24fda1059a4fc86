# What one does with Sclera's source; `make help` lists it. Needs Rust 1.95; everything else is installed when missing.
#
# PROFILE=release builds into target/release and build-release/ instead of target/debug and build/.

PROFILE ?= debug
BUILD   := $(CURDIR)/$(if $(filter release,$(PROFILE)),build-release,build)
TARGET  := $(abspath $(or $(CARGO_TARGET_DIR),target))
LIB_DIR := $(TARGET)/$(PROFILE)

CARGO       := cargo
CARGO_BUILD := $(CARGO) build --locked $(if $(filter release,$(PROFILE)),--release)

export BUILD LIB_DIR

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## Library, programs, both web server modules and examples/host
build: programs modules host

.PHONY: demo
demo: ## A browser's way through Apache and Nginx to a superserver, to try out (CHECK=1: one pass, then end)
	@scripts/setup.sh web
	@$(MAKE) --no-print-directory build
	@scripts/demo.sh

.PHONY: test
test: ## Every test; the last line is the total
	@$(MAKE) --no-print-directory test-setup build
	@scripts/test.sh

.PHONY: test-setup
test-setup: ## Only what the tests need: packages, and a Python with the official driver
	@scripts/setup.sh web test

.PHONY: lint
lint: ## Formatting, clippy with warnings denied, freshness of include/sclera.h
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --package sclera --features pkcs11 --all-targets -- -D warnings
	$(MAKE) --no-print-directory header-check

.PHONY: bench
bench: ## Compare with static files and with the web servers' own mutual TLS proxies (about 10 minutes)
	@scripts/setup.sh web bench
	@$(MAKE) --no-print-directory PROFILE=release build
	@/usr/bin/python3 benches/bench.py --modules $(CURDIR)/build-release --programs $(TARGET)/release

.PHONY: header
header: ## Write include/sclera.h anew from src/ffi
	SCLERA_WRITE_HEADER=1 $(CARGO) test --locked --workspace --test header

.PHONY: bench-profile
bench-profile: ## What reading a large CSP.ini and routing a request cost
	$(CARGO) run --locked --release --package sclera-benches --bin profile

.PHONY: bench-pool
bench-pool: ## What the pool and the ledger cost on the way of a request
	$(CARGO) run --locked --release --package sclera-benches --bin pool

SECONDS ?= 60

.PHONY: fuzz
fuzz: programs ## Feed the reader and the editor of CSP.ini with hostile input for SECONDS (60)
	$(LIB_DIR)/fuzz-profile $(SECONDS)

REQUESTS ?=
SEED     ?=

.PHONY: chaos
chaos: ## Break everything around the web servers for SECONDS (60), or for REQUESTS requests; SEED repeats a run
	@scripts/setup.sh web
	@$(MAKE) --no-print-directory PROFILE=release build
	@SCLERA_BUILD_DIR=$(CURDIR)/build-release SCLERA_LIB_DIR=$(TARGET)/release $(TARGET)/release/chaos \
	    --seconds $(SECONDS) $(addprefix --requests ,$(REQUESTS)) $(addprefix --seed ,$(SEED)) $(CHAOS)

.PHONY: asan
asan: build ## The modules' tests with modules that AddressSanitizer watches
	@scripts/asan.sh

.PHONY: docs
docs: build ## Write anew what is made from tables and transcripts: docs/csp-ini.md, docs/failures.md, *.golden.txt
	SCLERA_WRITE_DOCS=1 $(CARGO) test --locked --package sclera --package sclera-cli --lib
	SCLERA_WRITE_DOCS=1 $(CARGO) test --locked --workspace --test trial

.PHONY: man
man: programs ## Write man pages of the sclera command to build/man
	$(LIB_DIR)/sclera man $(BUILD)/man

.PHONY: header-check
header-check: ## Compare include/sclera.h with src/ffi
	$(CARGO) test --locked --workspace --test header

.PHONY: programs
programs:
	$(CARGO_BUILD) --workspace
	@ln -sf libsclera.so $(LIB_DIR)/libsclera.so.0
	@ln -sf libsclera_rustls.so $(LIB_DIR)/libsclera_rustls.so.0

.PHONY: modules
modules: programs ## Only the web server modules
	@for makefile in modules/*/Makefile; do \
	    $(MAKE) --no-print-directory -C $${makefile%/Makefile} OUT=$(BUILD) LIB_DIR=$(LIB_DIR) \
	        INCLUDE_DIR=$(CURDIR)/include || exit 1; \
	done

PREFIX ?= /usr/local

.PHONY: installable
installable: ## What `make install` copies: release profile, modules that look for the library in PREFIX/lib
	@$(MAKE) --no-print-directory PROFILE=release programs
	@$(MAKE) --no-print-directory PROFILE=release installable-modules

# They must not find the library in this tree, where others than root may write.
.PHONY: installable-modules
installable-modules:
	@for makefile in modules/*/Makefile; do \
	    $(MAKE) --no-print-directory -C $${makefile%/Makefile} OUT=$(BUILD)/install LIB_DIR=$(LIB_DIR) \
	        RPATH=$(PREFIX)/lib INCLUDE_DIR=$(CURDIR)/include || exit 1; \
	done

.PHONY: install
install: ## Copy library, modules, the sclera command and man pages to PREFIX (/usr/local); as root, after `make installable`
	@$(MAKE) --no-print-directory PROFILE=release install-files
	$(if $(DESTDIR),,ldconfig)

.PHONY: install-files
install-files: TO = $(DESTDIR)$(PREFIX)
install-files:
	install -d $(TO)/lib $(TO)/bin $(TO)/include $(TO)/share/man/man1
	install -m 755 $(LIB_DIR)/libsclera.so $(TO)/lib/libsclera.so.0
	ln -sf libsclera.so.0 $(TO)/lib/libsclera.so
	install -m 755 $(BUILD)/install/mod_sclera.so $(BUILD)/install/ngx_http_sclera_module.so $(TO)/lib/
	install -m 755 $(LIB_DIR)/sclera $(TO)/bin/
	install -m 644 include/sclera.h $(TO)/include/
	$(LIB_DIR)/sclera man $(TO)/share/man/man1

.PHONY: host
host: $(BUILD)/host $(BUILD)/own_socket

# rustls' own header, from the source that the library is built with.
$(BUILD)/include/rustls.h: Cargo.lock programs
	@$(LIB_DIR)/rustls-header $@

$(BUILD)/own_socket: examples/own_socket.c include/sclera_rustls.h $(BUILD)/include/rustls.h programs
	$(CC) -std=c11 -O2 -g -Wall -Wextra -Wpedantic -Werror -Iinclude -I$(BUILD)/include -o $@ $< \
	    -L$(LIB_DIR) -lsclera_rustls -Wl,-rpath,$(LIB_DIR)

$(BUILD)/host: examples/host.c include/sclera.h programs
	@mkdir -p $(@D)
	$(CC) -std=c11 -O2 -g -Wall -Wextra -Wpedantic -Werror -Iinclude -o $@ $< \
	    -L$(LIB_DIR) -l:libsclera.so.0 -Wl,-rpath,$(LIB_DIR)

.PHONY: clean
clean: ## Remove what was built
	$(CARGO) clean
	rm -rf build build-asan build-release
