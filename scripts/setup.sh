#!/usr/bin/env bash
# Installs what a Debian 12 machine lacks: `setup.sh web`, `setup.sh web test`, `setup.sh web bench`.
#
# Installs nothing that is there, and touches no service that runs. Debian would start and enable apache2, nginx and
# prometheus (installed for its promtool) on installing them; that is prevented, so that the machine serves nothing it did
# not serve before.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A packages=(
    [web]="build-essential pkg-config curl openssl apache2 apache2-dev nginx nginx-dev"
    [test]="chromium chromium-driver fonts-dejavu-core fonts-vlgothic iproute2 libclang-dev libnginx-mod-stream prometheus
        softhsm2 valgrind python3-venv"
    [bench]="wrk python3"
)

if ! command -v cargo >/dev/null; then
    echo "setup: cargo was not found; install Rust 1.95" >&2
    exit 1
fi

missing=()
for purpose in "$@"; do
    for package in ${packages[$purpose]}; do
        if [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
            missing+=("$package")
        fi
    done
done

if [ ${#missing[@]} -gt 0 ]; then
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "setup: install these packages as root: ${missing[*]}" >&2
            exit 1
        fi
        as_root=(sudo)
    fi
    echo "setup: installing ${missing[*]}"

    # While this file says 101, Debian starts no service that it installs.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap '"${as_root[@]}" rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod 755 "$policy"
    fi
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    for service in apache2 nginx prometheus; do
        if [[ " ${missing[*]} " == *" $service "* ]] && command -v systemctl >/dev/null; then
            "${as_root[@]}" systemctl disable "$service" 2>/dev/null ||
                echo "setup: could not keep $service from starting at boot; see: systemctl disable $service" >&2
        fi
    done
fi

# The official driver, for the tests that let it talk to the embedded superserver; and a package that brings axe-core 4.12.1
# along, a file of script that the tests' browser is given.
if [[ " $* " == *" test "* ]]; then
    python() { build/venv/bin/python "$@"; }
    python -c '' 2>/dev/null || /usr/bin/python3 -m venv build/venv
    python -c 'import iris' 2>/dev/null ||
        python -m pip install --quiet --disable-pip-version-check intersystems-irispython==5.4.1
    python -m pip show --quiet axe-playwright-python 2>/dev/null ||
        python -m pip install --quiet --disable-pip-version-check --no-deps axe-playwright-python==0.1.8
fi
