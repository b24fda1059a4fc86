"""What a request through Sclera costs, beside a static file and beside the same web server's own mutual TLS proxy.

Run by `make bench`. Everything runs on this machine, over loopback, from one temporary directory:

    wrk ── nginx / httpd ─┬─ a file
                          ├─ proxy_pass / mod_proxy, mutual TLS, keep-alive ── https-backend
                          └─ Sclera, mutual TLS, pooled connections ────────── sclera-superserver

Both far ends use the same TLS library, certificates, protocol (TLS 1.3) and cipher suite, require the client's
certificate, give the same answers and do the same work. Subjects take turns within one repetition, so that a noisy minute
hits them all; each number is the median of the repetitions.

After that, what the management pages and the metrics cost: alone, and beside a load that they must not disturb.

CPU is user and system time of the web server's worker processes over the run, divided by the requests answered. It leaves
out wrk and the far end, and does not depend on how busy the two cores are, as requests per second do.
"""

import argparse
import collections
import contextlib
import http.client
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

LARGE = 1 << 20
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
CIPHER = "TLS_AES_256_GCM_SHA384"

Subject = collections.namedtuple("Subject", "name server kind")
SUBJECTS = [Subject(f"{server} {kind}", server, kind) for server in ("nginx", "apache") for kind in ("static", "proxy", "sclera")]

Workload = collections.namedtuple("Workload", "name bytes work_ms clients")
WORKLOADS = [
    Workload("12 bytes", 12, 0, 16),
    Workload("12 bytes", 12, 0, 64),
    Workload("1 MB", LARGE, 0, 16),
    Workload("1 MB", LARGE, 0, 64),
    Workload("10 ms of work", 12, 10, 64),
]

Result = collections.namedtuple("Result", "microseconds per_second")


def path_of(kind, workload):
    """Where a web server has this subject's answer of this workload."""
    if kind == "static":
        return f"/static/{workload.bytes}"
    if kind == "proxy":
        return f"/proxy/{workload.bytes}/{workload.work_ms}"
    if workload.work_ms:
        return f"/csp/demo/slow?ms={workload.work_ms}"
    return f"/csp/demo/big?bytes={workload.bytes}"


# ---- processes


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, ready_port, log):
    """A process that listens, ended with the block."""
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", ready_port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"bench: {command[0]} did not start:\n{pathlib.Path(log).read_text(errors='replace')}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_seconds(master):
    """User and system time of the children of a web server's master process, which are its workers."""
    total = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            fields = pathlib.Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == master:
                total += int(fields[11]) + int(fields[12])
    return total / CLOCK_TICKS


# ---- configurations


def nginx_conf(place):
    return f"""
load_module {place.modules}/ngx_http_sclera_module.so;
daemon off;
worker_processes auto;
{"user www-data;" if place.root else ""}
pid {place.directory}/nginx.pid;
error_log {place.directory}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    client_body_temp_path {place.directory}/nginx-body;
    proxy_temp_path {place.directory}/nginx-proxy;
    fastcgi_temp_path {place.directory}/nginx-fastcgi;
    uwsgi_temp_path {place.directory}/nginx-uwsgi;
    scgi_temp_path {place.directory}/nginx-scgi;
    CSPConfigPath {place.pki};
    upstream backend {{
        server 127.0.0.1:{place.backend_port};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{place.nginx_port} backlog=1024;
        location /static {{ alias {place.directory}/static; }}
        location /proxy {{
            proxy_pass https://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_ssl_certificate {place.pki}/gateway.pem;
            proxy_ssl_certificate_key {place.pki}/gateway.key;
            proxy_ssl_trusted_certificate {place.pki}/ca.pem;
            proxy_ssl_verify on;
            proxy_ssl_name localhost; # it matches no IP address of a certificate
            proxy_ssl_protocols TLSv1.3;
            proxy_ssl_conf_command Ciphersuites {CIPHER};
        }}
        location /csp {{ CSP on; }}
    }}
}}
"""


def apache_conf(place):
    modules = "mpm_event authz_core alias socache_shmcb ssl proxy proxy_http"
    load = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in modules.split())
    return f"""
{load}
LoadModule csp_module_sa {place.modules}/mod_sclera.so
ServerName localhost
Listen 127.0.0.1:{place.apache_port}
ListenBacklog 1024
PidFile {place.directory}/apache.pid
DefaultRuntimeDir {place.directory}
DocumentRoot {place.directory}/static
ErrorLog {place.directory}/apache-error.log
{"User www-data" if place.root else ""}
{"Group www-data" if place.root else ""}
StartServers 2
ServerLimit 2
ThreadsPerChild 64
ThreadLimit 64
MaxRequestWorkers 128
MinSpareThreads 1
MaxSpareThreads 128
MaxConnectionsPerChild 0
KeepAlive On
MaxKeepAliveRequests 0
Alias /static {place.directory}/static
SSLProxyEngine on
SSLProxyProtocol TLSv1.3
SSLProxyCipherSuite TLSv1.3 {CIPHER}
SSLProxyMachineCertificateFile {place.directory}/gateway-both.pem
SSLProxyCACertificateFile {place.pki}/ca.pem
SSLProxyVerify require
SSLProxyCheckPeerName on
ProxyPass /proxy https://localhost:{place.backend_port}/proxy
CSPConfigPath {place.pki}
<Location /csp>
    CSP On
</Location>
"""


Place = collections.namedtuple("Place", "directory pki modules root superserver_port backend_port nginx_port apache_port")


def prepare(directory, arguments):
    """Certificates, files and configurations."""
    place = Place(
        directory, directory / "pki", arguments.modules, os.geteuid() == 0, free_port(), free_port(), free_port(), free_port()
    )
    directory.chmod(0o755)
    subprocess.run(
        [arguments.programs / "sclera", "pki", "init", place.pki, "--user", "gateway", "--port", str(place.superserver_port)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    if place.root:
        shutil.chown(place.pki / "gateway.key", "www-data")
    set_up_pages(place)
    both = directory / "gateway-both.pem"
    both.write_text((place.pki / "gateway.pem").read_text() + (place.pki / "gateway.key").read_text())
    (directory / "static").mkdir()
    for size in {workload.bytes for workload in WORKLOADS}:
        (directory / "static" / str(size)).write_bytes(b"x" * size)
    (directory / "nginx.conf").write_text(nginx_conf(place))
    (directory / "apache.conf").write_text(apache_conf(place))
    return place


def set_up_pages(place):
    """A metrics path, and an event log of some size."""
    csp_ini = place.pki / "CSP.ini"
    csp_ini.write_text(csp_ini.read_text().replace("[SYSTEM]\n", "[SYSTEM]\nSclera_Metrics_Path=/csp/metrics\n", 1))
    line = "when=\"2026-11-25 10:46:25.602\" level=INFO event=WebGateway.Request pid=40 thread-id=40 text=Request details=x\n"
    (place.pki / "CSP.log").write_text(line * 100_000)
    if place.root:
        shutil.chown(place.pki / "CSP.log", "www-data")


# ---- measuring


class BadAnswer(Exception):
    """A number that would mean nothing."""


def wrk(url, clients, seconds):
    """Requests answered and requests per second."""
    output = subprocess.run(
        ["wrk", "--threads", "1", "--connections", str(clients), "--duration", f"{seconds}s", "--timeout", "30s", url],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    requests = re.search(r"(\d+) requests in", output)
    per_second = re.search(r"Requests/sec:\s+([\d.]+)", output)
    # wrk now and then counts a read error when it ends, whichever the web server and the subject.
    errors = sum(int(number) for number in re.findall(r"(?:connect|read|write|timeout) (\d+)", output))
    if not requests or not per_second or "Non-2xx" in output or int(requests[1]) <= 1000 * errors:
        raise BadAnswer(f"{url} was not answered well:\n{output}")
    return int(requests[1]), float(per_second[1])


def measure(master, url, workload, seconds):
    before = cpu_seconds(master)
    requests, per_second = wrk(url, workload.clients, seconds)
    return Result((cpu_seconds(master) - before) / requests * 1e6, per_second)


def subjects_of(workload):
    return [subject for subject in SUBJECTS if not (workload.work_ms and subject.kind == "static")]


def measure_all(place, masters, arguments):
    """(subject name, workload) to its results, one for each repetition."""
    results = collections.defaultdict(list)
    for repetition in range(-1, arguments.repeat):  # the first is for warming up: connections, sessions, caches
        for workload in WORKLOADS:
            for subject in subjects_of(workload):
                port = place.nginx_port if subject.server == "nginx" else place.apache_port
                url = f"http://127.0.0.1:{port}{path_of(subject.kind, workload)}"
                if repetition < 0:
                    wrk(url, workload.clients, 1)
                else:
                    result = measure(masters[subject.server], url, workload, arguments.seconds)
                    results[subject.name, workload].append(result)
        print(f"repetition {repetition + 1} of {arguments.repeat}", file=sys.stderr, flush=True)
    return results


# ---- management pages

MODULE = "/csp/bin/Systems/Module.cxw"
PAGES = {
    "About": f"{MODULE}?page=about",
    "System Status": f"{MODULE}?page=status",
    "Server Access, list": f"{MODULE}?page=servers",
    "Server Access, form": f"{MODULE}?page=server&name=LOCAL",
    "Default Parameters": f"{MODULE}?page=defaults",
    "Mutual TLS": f"{MODULE}?page=mutual-tls",
    "View Event Log, of 100,000 lines": f"{MODULE}?page=event-log",
    "View HTTP Trace, list": f"{MODULE}?page=trace",
    "status as JSON": f"{MODULE}/api/status",
    "metrics": "/csp/metrics",
}
BESIDE = "System Status"
PAGES_A_SECOND = 10

PageCost = collections.namedtuple("PageCost", "milliseconds cpu_milliseconds")
Disturbance = collections.namedtuple("Disturbance", "alone beside page_milliseconds")


def fetch(connection, target):
    """Milliseconds until the whole page is there."""
    begun = time.perf_counter()
    connection.request("GET", target)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise BadAnswer(f"{target} was answered with {answer.status}")
    return (time.perf_counter() - begun) * 1000


def cost_of_page(master, port, target, times=200):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(10):
        fetch(connection, target)
    before = cpu_seconds(master)
    taken = [fetch(connection, target) for _ in range(times)]
    return PageCost(statistics.median(taken), (cpu_seconds(master) - before) / times * 1000)


def beside_load(master, port, seconds):
    """Requests without pages and with them, in turn, and how long the pages take meanwhile."""
    url = f"http://127.0.0.1:{port}{path_of('sclera', WORKLOADS[0])}"
    alone = measure(master, url, WORKLOADS[0], seconds)
    stop, taken = threading.Event(), []

    def look_again_and_again():
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while not stop.wait(1 / PAGES_A_SECOND):
            taken.append(fetch(connection, PAGES[BESIDE]))

    reader = threading.Thread(target=look_again_and_again)
    reader.start()
    try:
        beside = measure(master, url, WORKLOADS[0], seconds)
    finally:
        stop.set()
        reader.join()
    if not taken:
        raise BadAnswer(f"no page of {url} came beside the load")
    return Disturbance(alone, beside, statistics.median(taken))


def report_pages(place, masters, arguments):
    ports = {"nginx": place.nginx_port, "apache": place.apache_port}
    print()
    print("| page | nginx: ms | CPU ms | apache: ms | CPU ms |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for page, target in PAGES.items():
        costs = [cost_of_page(masters[server], port, target) for server, port in ports.items()]
        print(f"| {page} | " + " | ".join(f"{cost.milliseconds:.2f} | {cost.cpu_milliseconds:.2f}" for cost in costs) + " |")
    print()
    for server, port in ports.items():
        runs = [beside_load(masters[server], port, arguments.seconds) for _ in range(arguments.repeat)]
        middle = statistics.median
        per_second = middle(run.beside.per_second / run.alone.per_second for run in runs)
        cpu = middle(run.beside.microseconds / run.alone.microseconds for run in runs)
        page = middle(run.page_milliseconds for run in runs)
        print(f"ratio {server}.beside-pages {per_second:.2f} (requests a second), {cpu:.2f} (CPU per request), a page {page:.1f} ms")


# ---- reporting


def report(results):
    median = {
        key: Result(*(statistics.median(column) for column in zip(*values)))
        for key, values in results.items()
    }
    print("| answer | clients | subject | CPU us/request | (lowest to highest) | requests/s |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    for workload in WORKLOADS:
        for subject in subjects_of(workload):
            values = [result.microseconds for result in results[subject.name, workload]]
            result = median[subject.name, workload]
            print(
                f"| {workload.name} | {workload.clients} | {subject.name} | {result.microseconds:,.1f} "
                f"| {min(values):,.1f} to {max(values):,.1f} | {result.per_second:,.0f} |"
            )
    print()
    small, large, slow = WORKLOADS[0], WORKLOADS[2], WORKLOADS[4]
    for name, workload in (("small", small), ("large", large)):
        for server in ("nginx", "apache"):
            ours, theirs = (median[f"{server} {kind}", workload].microseconds for kind in ("sclera", "proxy"))
            print(f"ratio {server}.{name} {ours / theirs:.2f}")
    ours, theirs = (median[f"nginx {kind}", slow].per_second for kind in ("sclera", "proxy"))
    print(f"ratio nginx.slow {ours / theirs:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modules", type=pathlib.Path, required=True, help="directory of the two web server modules")
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="directory of sclera, sclera-superserver, https-backend")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions (default 5)")
    parser.add_argument("--seconds", type=int, default=2, help="length of one run (default 2)")
    parser.add_argument("--pages", action="store_true", help="only the management pages")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="sclera-bench.", dir="/tmp") as name, contextlib.ExitStack() as stack:
        place = prepare(pathlib.Path(name), arguments)

        def start(program, *command, port):
            return stack.enter_context(running([program, *command], port, place.directory / f"{pathlib.Path(program).name}.log"))

        merge = place.pki / "superserver.cpf"
        start(arguments.programs / "sclera-superserver", "run", "--merge", merge, port=place.superserver_port)
        start(arguments.programs / "https-backend", place.pki, str(place.backend_port), port=place.backend_port)
        masters = {
            "nginx": start("nginx", "-p", place.directory, "-e", place.directory / "nginx-error.log",
                           "-c", place.directory / "nginx.conf", port=place.nginx_port).pid,
            "apache": start("apache2", "-d", place.directory, "-f", place.directory / "apache.conf", "-DFOREGROUND",
                            port=place.apache_port).pid,
        }
        try:
            if not arguments.pages:
                report(measure_all(place, masters, arguments))
            report_pages(place, masters, arguments)
        except BadAnswer as error:
            logs = [f"{log.name}:\n{log.read_text(errors='replace')[-2000:]}" for log in place.directory.glob("*error.log")]
            sys.exit("\n".join([f"bench: {error}", *logs]))


if __name__ == "__main__":
    main()
