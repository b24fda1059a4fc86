#!/usr/bin/env bash
# Runs every test and ends with the line `N passed, N failed`. Expects what `make test` builds before.
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

cargo test --locked --workspace --no-fail-fast 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
# What only a build with keys in hardware has.
cargo test --locked --package sclera --features pkcs11 --lib -- in_hardware pkcs11:: 2>&1 | tee -a "$log"
[ "${PIPESTATUS[0]}" -eq 0 ] || status=1

awk '/^test result:/ { for (i = 2; i <= NF; i++) { if ($i == "passed;") passed += $(i - 1); if ($i == "failed;") failed += $(i - 1) } }
     END { printf "%d passed, %d failed\n", passed, failed }' "$log"
exit "$status"
