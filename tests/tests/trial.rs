//! `sclera test`: what an administrator reads, for success and for a failure at each stage.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use sclera_tests::certificates::{Ca, Leaf};
use sclera_tests::scene::{Scene, USER};
use sclera_tests::{peer, program, root};

/// A run of the command: exit status, and everything it printed.
fn run(scene: &Scene, arguments: &[&str], input: &str) -> (i32, String) {
    let mut child = Command::new(program("sclera"))
        .args(["test", "LOCAL"])
        .args(arguments)
        .arg("--config")
        .arg(scene.csp_ini())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout) + &text(&output.stderr))
}

/// The output with what differs from run to run replaced by something as long: paths, ports, times, days, keys.
fn steady(text: &str, scene: &Scene, ports: &[&str]) -> String {
    let mut text = text.replace(&scene.directory().display().to_string(), "/etc/iris/gateways");
    for (number, port) in ports.iter().enumerate() {
        text = text.replace(&format!(":{port}"), &format!(":{}", 51773 + number));
    }
    let text = words_before(&text, " ms).", |_| "0.0".to_owned());
    let text = words_before(&text, " ms ", |time| format!("{:>1$}", "0.0", time.len()));
    let text = words_before(&text, " ms\n", |time| format!("{:>1$}", "0.0", time.len()));
    let text = words_before(&text, " days left", |days| "9".repeat(days.len()));
    let text = words_behind(&text, "(after ", |_| "0.0".to_owned());
    let text = words_behind(&text, "process ", |_| "1".to_owned());
    words_behind(&text, "sha256//", |key| format!("{:A<1$}=", "", key.len() - 1))
}

fn words_before(text: &str, end: &str, new: impl Fn(&str) -> String) -> String {
    let mut parts: Vec<String> = text.split(end).map(str::to_owned).collect();
    let last = parts.len() - 1;
    for part in &mut parts[..last] {
        let word = part.rfind(|it: char| it == '(' || it.is_whitespace()).map_or(0, |place| place + 1);
        *part = format!("{}{}", &part[..word], new(&part[word..]));
    }
    parts.join(end)
}

fn words_behind(text: &str, start: &str, new: impl Fn(&str) -> String) -> String {
    let mut parts: Vec<String> = text.split(start).map(str::to_owned).collect();
    for part in &mut parts[1..] {
        let end = part.find(char::is_whitespace).unwrap_or(part.len());
        *part = format!("{}{}", new(&part[..end]), &part[end..]);
    }
    parts.join(start)
}

#[test]
fn the_transcripts_of_success_and_of_each_failing_stage_are_what_they_were() {
    let scene = Scene::new();
    let free = peer::closed_port().to_string();
    let closed = format!("TCP_Port={free}");
    let port = scene.superserver().port().to_string();
    let mut told = String::new();
    let mut tell = |what: &str, scene: &Scene, arguments: &[&str]| {
        let (status, text) = run(scene, arguments, "");
        assert!(text.lines().all(|line| line.chars().count() <= 80 || !line.trim().contains(' ')), "{text}");
        assert!(text.is_ascii(), "{text}");
        let _ = writeln!(told, "=== {what}: exit status {status}\n{}", steady(&text, scene, &[&free, &port]));
    };
    let other = Ca::new(scene.directory(), "other").file.display().to_string();
    tell("all is well", &scene, &[]);
    tell("settings", &scene, &["--set", "SSLCC_Certificate_Key_File=absent.key"]);
    tell("resolve", &scene, &["--set", "Ip_Address=no-such-name.invalid"]);
    tell("connect", &scene, &["--set", &closed]);
    tell("tls", &scene, &["--set", &format!("SSLCC_CA_Certificate_File={other}")]);
    tell(
        "tls, not verified",
        &scene,
        &["--set", &format!("SSLCC_CA_Certificate_File={other}"), "--set", "SSLCC_Verify_Peer=0"],
    );
    let stranger = Ca::of(scene.directory()).issue("stranger", &Leaf::gateway("stranger"));
    let [certificate, key] = [("Certificate", &stranger.certificate), ("Certificate_Key", &stranger.key)]
        .map(|(name, file)| format!("SSLCC_{name}_File={}", file.display()));
    tell("login", &scene, &["--set", &certificate, "--set", &key]);

    let file = "tests/tests/trial.golden.txt";
    if std::env::var_os("SCLERA_WRITE_DOCS").is_some() {
        std::fs::write(root().join(file), &told).unwrap();
    }
    let before = std::fs::read_to_string(root().join(file)).unwrap_or_default();
    let differs = before.lines().zip(told.lines()).find(|(old, new)| old != new);
    assert!(before == told, "{file} is not what `make docs` would write; the first difference: {differs:?}");
}

#[test]
fn the_json_form_has_stages_tls_chains_and_user() {
    let scene = Scene::new();
    let (status, text) = run(&scene, &["--json"], "");
    let report: serde_json::Value = serde_json::from_str(&text).expect("an object");
    assert_eq!((status, &report["ok"], &report["failure"]), (0, &true.into(), &serde_json::Value::Null));
    let stages: Vec<&str> =
        report["stages"].as_array().unwrap().iter().map(|it| it["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["settings", "resolve", "connect", "tls", "login", "call"]);
    assert_eq!(report["tls"]["version"], "TLS 1.3");
    assert_eq!(report["tls"]["group"], "X25519MLKEM768");
    assert_eq!((&report["user"], &report["mechanism"]), (&USER.into(), &"mutual TLS".into()));
    assert_eq!(report["superserver"][0]["common_name"], "superserver");
    assert!(report["superserver"][0]["public_key"].as_str().unwrap().starts_with("sha256//"));
    assert_eq!(report["gateway"][0]["common_name"], USER);
    assert_eq!(report["certificate_requested"], true);

    let (status, text) = run(&scene, &["--json", "--set", "SSLCC_Certificate_File=absent"], "");
    let report: serde_json::Value = serde_json::from_str(&text).expect("an object");
    assert_eq!((status, &report["failure"]["code"]), (2, &"SCLERA-110".into()));
    assert_eq!(report["stages"].as_array().unwrap().last().unwrap()["ok"], false);
}

#[test]
fn secrets_are_taken_from_a_file_or_standard_input_and_shown_nowhere() {
    let scene = Scene::new();
    let canary = "canary-Zx81Qm";
    let file = scene.directory().join("word");
    std::fs::write(&file, canary).unwrap();
    let from_file = format!("Password={}", file.display());
    for (arguments, input) in [(["--set-from", from_file.as_str()], ""), (["--set-from", "Password=-"], canary)] {
        let (status, text) = run(&scene, &[&arguments[..], &["--set", "Username=joe"]].concat(), input);
        assert_eq!(status, 2, "{text}");
        assert!(text.contains("SCLERA-406") && !text.contains(canary), "{text}");
    }
    let (status, text) = run(&scene, &["--set", "Password=visible"], "");
    assert!(status == 2 && text.contains("give the value with --set-from Password=FILE"), "{text}");
    let (status, text) = run(&scene, &["--set", "Passwort=x"], "");
    assert!(status == 2 && text.contains("a server has no setting Passwort"), "{text}");
    assert!(!std::fs::read_to_string(scene.csp_ini()).unwrap().contains("Username"), "the file stays as it is");
}

#[test]
fn the_c_interface_gives_the_same_report_on_unsaved_settings_too() {
    use sclera::ffi::exchange::sclera_failure;
    use sclera::ffi::trial::{
        sclera_trial, sclera_trial_failure, sclera_trial_free, sclera_trial_json, sclera_trial_run, sclera_trial_text,
    };
    use sclera::ffi::{sclera_pair, sclera_result, sclera_slice};
    let scene = Scene::new();
    let config = std::ffi::CString::new(scene.csp_ini().display().to_string()).unwrap();
    let slice = |text: &str| sclera_slice { data: text.as_ptr(), length: text.len() };
    // SAFETY: every pointer is of something alive, and each object is freed once.
    unsafe {
        let text = |slice: sclera_slice| {
            String::from_utf8_lossy(std::slice::from_raw_parts(slice.data, slice.length)).into_owned()
        };
        for (settings, code) in [(vec![], None), (vec![("TCP_Port", peer::closed_port().to_string())], Some(201))] {
            let pairs: Vec<sclera_pair> =
                settings.iter().map(|(key, value)| sclera_pair { name: slice(key), value: slice(value) }).collect();
            let mut trial: *mut sclera_trial = std::ptr::null_mut();
            let made =
                sclera_trial_run(config.as_ptr(), c"LOCAL".as_ptr(), pairs.as_ptr(), pairs.len(), &raw mut trial);
            assert_eq!(made, sclera_result::SCLERA_OK);
            let mut failure = sclera_failure { size: size_of::<sclera_failure>(), ..sclera_failure::default() };
            let failed = sclera_trial_failure(trial, &raw mut failure).then_some(failure.code);
            assert_eq!(failed, code);
            assert!(text(sclera_trial_text(trial)).starts_with("Server LOCAL at 127.0.0.1:"));
            let report: serde_json::Value = serde_json::from_str(&text(sclera_trial_json(trial))).unwrap();
            assert_eq!(report["ok"], code.is_none());
            if code.is_some() {
                assert!(failure.repeatable && failure.http_status == 502);
                assert_eq!(std::ffi::CStr::from_ptr(failure.fault).to_str(), Ok("network"));
            }
            sclera_trial_free(trial);
        }
        let mut none: *mut sclera_trial = std::ptr::null_mut();
        let made = sclera_trial_run(config.as_ptr(), c"NOWHERE".as_ptr(), std::ptr::null(), 0, &raw mut none);
        assert_eq!((made, none.is_null()), (sclera_result::SCLERA_CONFIGURATION, true));
    }
}

#[test]
fn a_login_as_another_user_than_the_certificate_says_is_warned_of() {
    let scene = Scene::new();
    let merge = scene.directory().join("passwords.cpf");
    let actions = "[Actions]\nCreateUser:Name=CSPSystem,Password=canary-Rt5\n\
                   ModifyService:Name=%Service_WebGateway,AutheEnabled=$$$AuthePassword+$$$AutheMutualTLS\n";
    std::fs::write(&merge, actions).unwrap();
    sclera_superserver::merge_into(Some(scene.directory()), &merge).unwrap_or_else(|error| panic!("{error}"));
    let (status, text) = run(&scene, &["--set", "Username=CSPSystem", "--set-from", "Password=-"], "canary-Rt5");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(status == 0 && text.contains("knows the gateway as CSPSystem (password)"), "{text}");
    assert!(text.contains("WARNING") && text.contains("does not decide the login"), "{text}");
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn the_doctor_says_of_this_machine_what_is_true_of_it() {
    let scene = Scene::new();
    let doctor = |arguments: &[&str]| {
        let mut command = Command::new(program("sclera"));
        let output = command.args(["doctor", "--config"]).arg(scene.csp_ini()).args(arguments).output().unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (status, text) = doctor(&["--json"]);
    let checks: Vec<serde_json::Value> = serde_json::from_str(&text).expect("an array");
    assert!(status < 2 && checks.iter().all(|check| check["verdict"] != "bad"), "{text}");
    let selinux = checks.iter().find(|check| check["name"] == "SELinux").expect("a word on SELinux");
    let there = std::path::Path::new("/sys/fs/selinux/enforce").exists();
    assert_eq!(selinux["evidence"].as_str().unwrap().contains("is not there"), !there, "{selinux}");
    for stage in ["settings", "resolve", "connect", "tls", "login", "call"] {
        let made = |check: &serde_json::Value| check["name"] == "connection" && check["subject"] == stage;
        assert!(checks.iter().any(made), "{stage}: {text}");
    }
    assert!(checks.iter().any(|check| check["name"] == "access" && check["verdict"] == "good"), "{text}");
    let (_, text) = doctor(&["--offline"]);
    assert!(!text.contains("connection:") && text.is_ascii(), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80 || !line.trim().contains(' ')), "{text}");
}
