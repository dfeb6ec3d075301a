//! TCP to a server: every address of its name is tried, and a failure says which and why.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::connect::Endpoint;
use crate::error::{Error, Kind, Result};

/// How long one address, and looking up the name, may take.
const DEADLINE: Duration = Duration::from_secs(15);

/// After this the next address is tried beside the one that has not answered (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// How long sent bytes may stay unacknowledged before the system gives the connection up.
const USER_TIMEOUT_MILLIS: u32 = 60_000;

/// More addresses than this of one name are not tried.
const MAX_ADDRESSES: usize = 16;

/// Connects to the first address of the host that answers. Errors: `Unreachable`.
pub(super) async fn dial(endpoint: &Endpoint) -> Result<TcpStream> {
    let addresses = resolve(endpoint).await?;
    let stream = race(addresses).await.map_err(|failures| unreachable(endpoint, &failures))?;
    prepare(&stream)
        .map_err(|e| Error::new(Kind::Unreachable, "set up the connection to", endpoint).because(e))?;
    Ok(stream)
}

async fn resolve(endpoint: &Endpoint) -> Result<Vec<SocketAddr>> {
    let found = timeout(DEADLINE, tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))).await;
    let found = found.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")));
    let addresses: Vec<SocketAddr> = match found {
        Ok(addresses) => addresses.take(MAX_ADDRESSES).collect(),
        Err(e) => return Err(nameless(endpoint).because(e)),
    };
    if addresses.is_empty() { Err(nameless(endpoint)) } else { Ok(addresses) }
}

fn nameless(endpoint: &Endpoint) -> Error {
    Error::new(Kind::Unreachable, "reach", endpoint)
        .detail("the name of the host cannot be resolved")
        .hint("Check its spelling, and that this machine has a working name service.")
}

async fn race(addresses: Vec<SocketAddr>) -> Result<TcpStream, Vec<(SocketAddr, io::Error)>> {
    let mut addresses = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failures = Vec::new();
    loop {
        attempts.extend(addresses.next().map(attempt));
        let others_wait = addresses.len() > 0;
        tokio::select! {
            answer = attempts.next() => match answer {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(failure)) => failures.push(failure),
                None => return Err(failures),
            },
            () = sleep(HEAD_START), if others_wait => {}
        }
    }
}

async fn attempt(address: SocketAddr) -> Result<TcpStream, (SocketAddr, io::Error)> {
    match timeout(DEADLINE, TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(|e| (address, e)),
        Err(_) => Err((address, io::ErrorKind::TimedOut.into())),
    }
}

/// A dead peer must be noticed, and small requests must not wait for large ones.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT_MILLIS)?;
    Ok(())
}

fn unreachable(endpoint: &Endpoint, failures: &[(SocketAddr, io::Error)]) -> Error {
    let reasons: Vec<String> = failures.iter().map(|(a, e)| format!("{}: {}", a.ip(), reason(e))).collect();
    let hint = failures.last().map_or("", |(_, e)| advice(e));
    Error::new(Kind::Unreachable, "reach", endpoint).detail(reasons.join("; ")).hint(hint)
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection was refused".into(),
        io::ErrorKind::TimedOut => format!("no answer within {} s", DEADLINE.as_secs()),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "no route to it".into(),
        _ => error.to_string(),
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "Check the port, and that the SSH server runs.",
        io::ErrorKind::TimedOut => {
            "Check the host and the port, and whether a firewall drops the connection."
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "Check this machine's network.",
        _ => "Check the host and the port.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint { host: host.into(), port, user: "web1".into() }
    }

    async fn closed_port() -> u16 {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        listener.local_addr().unwrap().port()
    }

    #[tokio::test]
    async fn failures_say_which_and_what_to_check() {
        let port = closed_port().await;
        let error = dial(&endpoint("127.0.0.1", port)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unreachable);
        assert_eq!(
            error.to_string(),
            format!("cannot reach web1@127.0.0.1:{port}: 127.0.0.1: the connection was refused")
        );
        assert_eq!(error.hint_text(), Some("Check the port, and that the SSH server runs."));
        let error = dial(&endpoint("no such host.invalid", 22)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unreachable);
        assert!(error.to_string().contains("cannot be resolved"), "{error}");
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_fails() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let good = listener.local_addr().unwrap();
        let bad = SocketAddr::from(([127, 0, 0, 1], closed_port().await));
        let stream = race(vec![bad, bad, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert_eq!(race(vec![bad, bad]).await.unwrap_err().len(), 2);
    }
}
