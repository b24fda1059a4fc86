//! The page a browser sees when there is no answer: a code and the request's id, nothing else. What happened stands in
//! the web server's error log under the same id.

use super::response::ResponseHead;
use crate::failure::{Code, Fault};

/// The head and body of the page.
pub fn page(code: Code, request_id: &str) -> (ResponseHead, Vec<u8>) {
    let status = code.http_status();
    let reason = reason(status);
    let body = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{status} {reason}</title></head>\n\
         <body><h1>{reason}</h1>\n<p>Code: {code}<br>\nRequest: {request_id}</p>\n</body></html>\n"
    )
    .into_bytes();
    let mut headers = vec![
        ("Content-Type".to_owned(), b"text/html; charset=utf-8".to_vec()),
        ("Cache-Control".to_owned(), b"no-store".to_vec()),
    ];
    if status == 503 {
        let seconds: &[u8] = if code.fault() == Fault::Capacity { b"1" } else { b"30" };
        headers.push(("Retry-After".to_owned(), seconds.to_vec()));
    }
    let length = Some(body.len() as u64);
    (ResponseHead { status, reason: reason.to_owned(), headers, length }, body)
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_every_code_says_the_code_and_the_request_and_nothing_of_the_remedy() {
        for &code in Code::ALL {
            let (head, body) = page(code, "0123abcd");
            let body = String::from_utf8(body).unwrap();
            assert_eq!(head.status, code.http_status(), "{code}");
            assert!(body.contains(&code.to_string()) && body.contains("0123abcd"), "{code}");
            assert!(!body.contains(code.remedy()), "{code}");
        }
    }
}
