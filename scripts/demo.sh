#!/usr/bin/env bash
# A browser's way through Apache and Nginx to the embedded superserver, over mutual TLS, in a directory of its own.
# Run by `make demo`, which builds what this needs. CHECK=1: send the requests, say what came, end.
#
# Ports, each the first free one from: superserver 51773, Apache 8080, Nginx 8090; all on 127.0.0.1. Apache and Nginx run
# with configurations of their own; those of the system are neither read nor changed.
set -euo pipefail
cd "$(dirname "$0")/.."

: "${BUILD:=$PWD/build}" "${LIB_DIR:=$PWD/target/debug}" "${CHECK:=0}"

directory=$(mktemp -d /tmp/sclera-demo.XXXXXX) # not TMPDIR: the web servers' user must reach it
pids=()

finish() {
    local status=$?
    trap - EXIT INT TERM
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    for pid in "${pids[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$directory"
    exit "$status"
}
trap finish EXIT
trap 'exit 0' INT TERM

say() { printf '%s\n' "$*"; }

fail() {
    say "demo: $*" >&2
    tail -n 20 "$directory"/logs/*.log >&2 || true
    exit 1
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The first port from $1 on that nobody listens on.
free_port() {
    local port=$1
    while listens "$port"; do
        port=$((port + 1))
    done
    say "$port"
}

# until_ready NAME PID COMMAND...: returns when the command succeeds; fails if the process ends or 15 seconds pass.
until_ready() {
    local name=$1 pid=$2
    shift 2
    for _ in $(seq 150); do
        "$@" && return
        kill -0 "$pid" 2>/dev/null || fail "$name ended instead of starting"
        sleep 0.1
    done
    fail "$name was not ready within 15 seconds"
}

superserver_port=$(free_port 51773)
apache_port=$(free_port 8080)
nginx_port=$(free_port 8090)

# --- certificates, CSP.ini and the superserver's configuration, which belong together

chmod 755 "$directory"
mkdir -p "$directory"/{logs,htdocs}
"$LIB_DIR/sclera" pki init "$directory/pki" --user gateway --port "$superserver_port" >"$directory/logs/pki.log"
worker_user=
if [ "$(id -u)" -eq 0 ]; then
    worker_user=www-data # what Debian's web servers run as; it must read the gateway's key
    chown "$worker_user" "$directory/pki/gateway.key"
fi

# --- the superserver

"$LIB_DIR/sclera-superserver" run --merge "$directory/pki/superserver.cpf" >"$directory/logs/superserver.log" 2>&1 &
superserver_pid=$!
pids+=("$superserver_pid")
until_ready "the superserver" "$superserver_pid" grep -q '^ready:' "$directory/logs/superserver.log"

# --- Apache, with the four lines an existing installation has

cat >"$directory/apache.conf" <<END
ServerName localhost
Listen 127.0.0.1:$apache_port
PidFile $directory/apache.pid
DefaultRuntimeDir $directory
DocumentRoot $directory/htdocs
ErrorLog $directory/logs/apache-error.log
LogFormat "%h \"%r\" %>s %b %{SCLERA_REQUEST_ID}e" sclera
CustomLog $directory/logs/apache-access.log sclera
${worker_user:+User $worker_user
Group $worker_user}
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so

LoadModule csp_module_sa $BUILD/mod_sclera.so
CSPConfigPath $directory/pki
<Location /csp>
    CSP On
</Location>
END
apache2 -d "$directory" -f "$directory/apache.conf" -t 2>"$directory/logs/apache-test.log" ||
    fail "Apache refused its configuration"
apache2 -d "$directory" -f "$directory/apache.conf" -DFOREGROUND &
pids+=($!)
until_ready Apache $! listens "$apache_port"

# --- Nginx

cat >"$directory/nginx.conf" <<END
load_module $BUILD/ngx_http_sclera_module.so;
daemon off;
${worker_user:+user $worker_user;}
pid $directory/nginx.pid;
error_log $directory/logs/nginx-error.log notice;
events { }
http {
    access_log $directory/logs/nginx-access.log;
    client_body_temp_path $directory/nginx-body;
    proxy_temp_path $directory/nginx-proxy;
    fastcgi_temp_path $directory/nginx-fastcgi;
    uwsgi_temp_path $directory/nginx-uwsgi;
    scgi_temp_path $directory/nginx-scgi;
    CSPConfigPath $directory/pki;
    server {
        listen 127.0.0.1:$nginx_port;
        root $directory/htdocs;
        location /csp {
            CSP on;
        }
    }
}
END
nginx -p "$directory" -e "$directory/logs/nginx-error.log" -c "$directory/nginx.conf" -t -q ||
    fail "Nginx refused its configuration"
nginx -p "$directory" -e "$directory/logs/nginx-error.log" -c "$directory/nginx.conf" &
pids+=($!)
until_ready Nginx $! listens "$nginx_port"

# --- requests

# show NAME URL: prints the line in which the superserver says who it took the gateway for.
show() {
    local identity
    identity=$(curl -sS --noproxy "*" --fail --max-time 20 "$2" | grep -o 'Login identity: [^<]*') ||
        fail "no login identity from $2"
    printf '%-14s %-42s %s\n' "$1" "$2" "$identity"
    [ "$identity" = "Login identity: gateway (mutual TLS)" ] || fail "expected the CN of the gateway's certificate, gateway"
}

say ""
show "Apache httpd" "http://127.0.0.1:$apache_port/csp/demo/"
show "Nginx" "http://127.0.0.1:$nginx_port/csp/demo/"
for port in "$apache_port" "$nginx_port"; do
    answer=$(curl -sS --noproxy "*" --fail --max-time 20 --data-binary hello "http://127.0.0.1:$port/csp/demo/echo/a%2Fb?x=1") ||
        fail "no answer from /csp/demo/echo on port $port"
    grep -q '"target":"/csp/demo/echo/a%2Fb?x=1"' <<<"$answer" || fail "the request changed on its way: $answer"
done
say "A posted body and an encoded path (/csp/demo/echo/a%2Fb?x=1) arrived unchanged through both."

say ""
"$LIB_DIR/sclera" test LOCAL --config "$directory/pki" || fail "sclera test found what the requests did not"

if [ "$CHECK" = 1 ]; then
    exit 0
fi

say ""
say "Open one of the addresses above in a browser; the page links to more: echo, stream, slow, big, status, fail."
say "Certificates, CSP.ini and superserver.cpf: $directory/pki"
say "Configurations of Apache and Nginx:        $directory/apache.conf, $directory/nginx.conf"
say "Logs:                                      $directory/logs"
say "What can be wrong:                         $LIB_DIR/sclera doctor --config $directory/pki"
say ""
say "Ctrl-C ends everything and removes the directory."
wait -n "${pids[@]}" || true
fail "one of the servers ended"
