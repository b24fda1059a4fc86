//! What reading a large CSP.ini and routing a request cost, in CPU time: `make bench-profile`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sclera::profile::{Environment, Profile};

/// Counts allocations.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let text = large_file();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("CSP.ini");
    std::fs::write(&path, &text).expect("writing CSP.ini");
    let load = || Profile::load(&path, &Environment::none()).expect("a good CSP.ini").profile;

    let mut times: Vec<Duration> = (0..21).map(|_| cpu_time(|| drop(black_box(load())))).collect();
    times.sort();
    println!(
        "load: {} lines in {:.2} ms of CPU (median of {})",
        text.lines().count(),
        times[10].as_secs_f64() * 1e3,
        times.len()
    );

    let profile = load();
    let paths: Vec<String> = (0..1000).map(|n| format!("/csp/app{n}/part/page.cls")).collect();
    let rounds = 1000;
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let time = cpu_time(|| {
        for _ in 0..rounds {
            for path in &paths {
                black_box(profile.route(Some("www.example.com"), black_box(path)));
            }
        }
    });
    let count = rounds * paths.len();
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let nanoseconds = time.as_secs_f64() * 1e9 / count as f64;
    println!("route: {nanoseconds:.0} ns of CPU among {} paths, {allocations} allocations", profile.applications.len());
}

/// 9,000 lines: 250 servers with 20 settings each, and 1,000 paths.
fn large_file() -> String {
    let mut text = String::from("[SYSTEM]\nDefault_Server=S0\n[SYSTEM_INDEX]\n");
    let mut add = |line: String| writeln!(text, "{line}").expect("a string");
    (0..250).for_each(|n| add(format!("S{n}=Enabled")));
    for n in 0..250 {
        add(format!("[S{n}]\nIp_Address=10.0.{}.{}\nTCP_Port=1972\nConnection_Security_Level=10", n / 250, n % 250));
        add("SSLCC_Verify_Peer=1\nSSLCC_CA_Certificate_File=/etc/ca.pem\nSSLCC_Certificate_File=/etc/c.pem".into());
        add("SSLCC_Certificate_Key_File=/etc/k.pem\nSSLCC_Protocol_Min=16\nSSLCC_Protocol_Max=32\nSSLCC_Key_Type=2"
            .into());
        add("Minimum_Server_Connections=3\nMaximum_Session_Connections=6\nMaximum_Server_Connections=50".into());
        add("Server_Response_Timeout=60\nQueued_Request_Timeout=60\nNo_Activity_Timeout=86400\nProduct=2".into());
        add("Password=]]]U1lT\nUsername=CSPSystem\nServer_Error=\nServer_Busy=".into());
    }
    add("[APP_PATH_INDEX]".into());
    (0..990).for_each(|n| add(format!("/csp/app{n}=Enabled")));
    (0..10).for_each(|n| add(format!("//host{n}/csp=Enabled")));
    (0..990).for_each(|n| add(format!("[APP_PATH:/csp/app{n}]\nDefault_Server=S{}", n % 250)));
    text
}

fn cpu_time(work: impl FnOnce()) -> Duration {
    let now = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let before = now();
    work();
    now() - before
}
