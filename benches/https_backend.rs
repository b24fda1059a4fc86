//! An HTTPS server behind the web servers' own proxies, doing what the embedded superserver does behind Sclera: the same
//! TLS library, certificates and client verification, the same answers, the same work.
//!
//! `https-backend PKI_DIRECTORY PORT` answers `GET /…/BYTES` with so many bytes and `GET /…/BYTES/MS` after so many
//! milliseconds, on connections that stay open.

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Far beyond any head that the two web servers send.
const LARGEST_HEAD: usize = 16 * 1024;
const LARGEST_BODY: usize = 1 << 20;
/// One write's worth of body: a few TLS records.
const PIECE: usize = 64 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(port)) = (arguments.next(), arguments.next()) else {
        return Err("usage: https-backend PKI_DIRECTORY PORT".into());
    };
    let acceptor = TlsAcceptor::from(Arc::new(tls(Path::new(&directory))?));
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
        println!("ready: {}", listener.local_addr()?);
        loop {
            let (socket, _) = listener.accept().await?;
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A proxy that closes its connection ends the task; there is nobody to tell.
                let _ = serve(socket, acceptor).await;
            });
        }
    })
}

/// TLS 1.3 alone, client certificates required: what the superserver's listener asks for.
fn tls(directory: &Path) -> Result<ServerConfig, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(directory.join("ca.pem"))? {
        roots.add(certificate?)?;
    }
    let chain = CertificateDer::pem_file_iter(directory.join("superserver.pem"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(directory.join("superserver.key"))?;
    let config = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build()?)
        .with_single_cert(chain, key)?;
    Ok(config)
}

async fn serve(socket: TcpStream, acceptor: TlsAcceptor) -> Result<(), Box<dyn Error + Send + Sync>> {
    socket.set_nodelay(true)?;
    let mut stream = acceptor.accept(socket).await?;
    let body = vec![b'x'; LARGEST_BODY];
    let mut head = Vec::with_capacity(1024);
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() > LARGEST_HEAD || stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let (bytes, work) = wanted(&head).ok_or("not a request of the benchmark")?;
        if !work.is_zero() {
            tokio::time::sleep(work).await;
        }
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {bytes}\r\n\r\n").into_bytes();
        let with_head = bytes.min(PIECE);
        answer.extend_from_slice(&body[..with_head]);
        stream.write_all(&answer).await?;
        for piece in body[with_head..bytes].chunks(PIECE) {
            stream.write_all(piece).await?;
        }
        stream.flush().await?;
    }
}

/// The numbers at the end of the request's path: how many bytes, after how much work.
fn wanted(head: &[u8]) -> Option<(usize, Duration)> {
    let path = std::str::from_utf8(head).ok()?.split(' ').nth(1)?;
    let numbers: Vec<u64> = path.split('/').filter_map(|part| part.parse().ok()).collect();
    let bytes = usize::try_from(*numbers.first()?).ok()?.min(LARGEST_BODY);
    Some((bytes, Duration::from_millis(numbers.get(1).copied().unwrap_or(0))))
}
