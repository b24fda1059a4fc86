#!/usr/bin/env bash
# Runs the modules' tests with C modules that AddressSanitizer watches. The library stays as it is: it is Rust.
#
# Tests that watch a worker's memory are left out: AddressSanitizer keeps what was freed, to catch whoever uses it still.
# Leaks are not looked for: httpd and nginx leave at their end what the system takes back anyway. What a request leaks shows
# in the tests that watch a worker's memory.
set -euo pipefail
cd "$(dirname "$0")/.."

out=$PWD/build-asan
reports=$out/reports
rm -rf "$reports"
mkdir -p "$reports"
# Workers of another user write there, too.
chmod 1777 "$reports"

for makefile in modules/*/Makefile; do
    make --no-print-directory -C "${makefile%/Makefile}" OUT="$out" LIB_DIR="${LIB_DIR:-$PWD/target/debug}" \
        INCLUDE_DIR="$PWD/include" CFLAGS="-O1 -g -fsanitize=address -fno-omit-frame-pointer"
done

export SCLERA_BUILD_DIR=$out
export SCLERA_PRELOAD=$(realpath "$(gcc -print-file-name=libasan.so)")
export ASAN_OPTIONS=detect_leaks=0:log_path=$reports/report:log_exe_name=1
status=0
cargo test --locked --workspace --no-fail-fast --test nginx --test apache --test chaos "$@" -- --skip without_growing \
    --skip a_reload_every_second || status=$?

for report in "$reports"/*; do
    [ -e "$report" ] || continue
    cat "$report"
    status=1
done
exit "$status"
