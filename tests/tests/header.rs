//! `include/sclera.h` against the Rust code behind it: generated text is fresh, and layouts agree.
//!
//! `make header` writes the header anew; without that, this test only compares.

use std::fs;
use std::path::{Path, PathBuf};

use quote::ToTokens;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's root").to_owned()
}

/// The C ABI's Rust source with every `export!` written out as a plain function, which cbindgen can read.
fn exported_source() -> String {
    let mut source = String::new();
    for module in ["mod", "gateway", "worker", "exchange", "connection", "answer", "protocol", "trial"] {
        let path = root().join(format!("src/ffi/{module}.rs"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for item in syn::parse_file(&text).expect("Rust source").items {
            match item {
                syn::Item::Macro(exported) if exported.mac.path.is_ident("export") => {
                    let mut function: syn::ItemFn = syn::parse2(exported.mac.tokens).expect("an exported function");
                    function.vis = syn::parse_quote!(pub);
                    function.sig.abi = Some(syn::parse_quote!(extern "C"));
                    function.attrs.push(syn::parse_quote!(#[unsafe(no_mangle)]));
                    function.block = syn::parse_quote!({ loop {} });
                    source += &function.to_token_stream().to_string();
                }
                syn::Item::Struct(_) | syn::Item::Enum(_) | syn::Item::Type(_) | syn::Item::Const(_) => {
                    source += &item.to_token_stream().to_string();
                }
                _ => {}
            }
            source.push('\n');
        }
    }
    source
}

fn generated_header() -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let source = directory.path().join("ffi.rs");
    fs::write(&source, exported_source()).expect("writing the source");
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml");
    let contract = fs::read_to_string(root().join("src/ffi/contract.h")).expect("the contract");
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_header(contract.trim_end())
        .with_src(&source)
        .generate()
        .expect("cbindgen understands the C ABI");
    let mut header = Vec::new();
    bindings.write(&mut header);
    String::from_utf8(header).expect("UTF-8")
}

#[test]
fn the_header_is_what_the_source_says() {
    let path = root().join("include/sclera.h");
    let generated = generated_header();
    if std::env::var_os("SCLERA_WRITE_HEADER").is_some() {
        fs::write(&path, &generated).expect("writing the header");
    }
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    assert!(checked_in == generated, "include/sclera.h is out of date: run `make header` and look at the difference");
}

/// What bindgen, reading the header as a C compiler does, says of a struct: its size, then the place of each field.
fn layout_in_c(bindings: &str, name: &str) -> Vec<(String, usize)> {
    let flat: String = bindings.split_whitespace().collect::<Vec<_>>().join(" ");
    let number = |after: &str| -> usize {
        let statement = after.split(';').next().expect("a statement");
        let digits: String = statement.rsplit('-').next().unwrap_or("").chars().filter(char::is_ascii_digit).collect();
        digits.parse().unwrap_or_else(|_| panic!("no number in {statement}"))
    };
    let (size_of, offset_of) = (format!("[\"Size of {name}\"]"), format!("[\"Offset of field: {name}::"));
    let size = flat.split(&size_of).nth(1).map(|after| ("size of the struct".to_owned(), number(after)));
    let fields = flat.split(&offset_of).skip(1).map(|after| {
        let (field, rest) = after.split_once('"').expect("a field's name");
        (field.to_owned(), number(rest))
    });
    size.into_iter().chain(fields).collect()
}

macro_rules! assert_same_layout {
    ($bindings:expr, $($struct:path as $name:literal { $($field:ident),* $(,)? })*) => {
        $(
            let rust = [
                ("size of the struct".to_owned(), size_of::<$struct>()),
                $((stringify!($field).to_owned(), std::mem::offset_of!($struct, $field)),)*
            ];
            assert_eq!(layout_in_c($bindings, $name), rust, $name);
        )*
    };
}

#[test]
fn a_c_compiler_lays_every_struct_out_as_rust_does() {
    use sclera::ffi::{answer, exchange, gateway, protocol};
    let bindings = bindgen::Builder::default()
        .header(root().join("include/sclera.h").to_str().expect("UTF-8 path"))
        .layout_tests(true)
        .generate()
        .expect("the header is C")
        .to_string();
    assert_same_layout! { &bindings,
        sclera::ffi::sclera_slice as "sclera_slice" { data, length }
        sclera::ffi::sclera_pair as "sclera_pair" { name, value }
        gateway::sclera_options as "sclera_options" { size, abi, config_path, host_software, log, log_userdata, first_start, workers }
        gateway::sclera_user as "sclera_user" { size, uid, gid, groups, group_count }
        exchange::sclera_request as "sclera_request" {
            size, method, target, protocol, headers, header_count, content_length, remote_address, remote_port,
            server_name, server_port, https, remote_user, auth_type, request_id, userdata, auth_password,
        }
        exchange::sclera_wants as "sclera_wants" { size, fd, events, link, timeout_ms }
        exchange::sclera_response as "sclera_response" { size, status, reason, headers, header_count, content_length }
        exchange::sclera_failure as "sclera_failure" {
            size, code, http_status, message, stage, fault, remedy, repeatable,
        }
        protocol::sclera_target as "sclera_target" { size, host, server_name, port, tls, generation }
        answer::sclera_value as "sclera_value" { kind, by_reference, bytes, integer, number }
    }
}
