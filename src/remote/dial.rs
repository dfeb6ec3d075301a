//! TCP to a server: every address of its name is tried, and a failure says which and why.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustix::net::sockopt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::connect::Endpoint;
use super::route::{Family, Manner};
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
pub(super) async fn dial(endpoint: &Endpoint, manner: &Manner) -> Result<TcpStream> {
    let deadline = manner.connect_within.unwrap_or(DEADLINE);
    let family = manner.family;
    let addresses: Vec<SocketAddr> =
        resolve(endpoint).await?.into_iter().filter(|address| is_of(*address, family)).collect();
    if addresses.is_empty() {
        return Err(Error::new(Kind::Unreachable, "reach", endpoint)
            .detail("the host has no address of the family that AddressFamily in ssh_config asks for"));
    }
    let from = Arc::new(own_addresses(endpoint, manner.bind.as_deref()).await?);
    let stream = race(addresses, &from, deadline).await;
    let stream = stream.map_err(|failures| unreachable(endpoint, &failures, deadline))?;
    prepare(&stream)
        .map_err(|e| Error::new(Kind::Unreachable, "set up the connection to", endpoint).because(e))?;
    Ok(stream)
}

fn is_of(address: SocketAddr, family: Family) -> bool {
    match family {
        Family::Any => true,
        Family::Inet => address.is_ipv4(),
        Family::Inet6 => address.is_ipv6(),
    }
}

/// The addresses to come from; none: whatever the system chooses.
async fn own_addresses(endpoint: &Endpoint, bind: Option<&str>) -> Result<Vec<IpAddr>> {
    let Some(bind) = bind else { return Ok(Vec::new()) };
    let found = tokio::net::lookup_host((bind, 0)).await;
    let found = found.map_err(|e| {
        let what = "find the address that BindAddress in ssh_config names, to reach";
        Error::new(Kind::Unreachable, what, endpoint).because(e)
    })?;
    Ok(found.map(|address| address.ip()).collect())
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

async fn race(
    addresses: Vec<SocketAddr>,
    from: &Arc<Vec<IpAddr>>,
    deadline: Duration,
) -> Result<TcpStream, Vec<(SocketAddr, io::Error)>> {
    let mut addresses = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failures = Vec::new();
    loop {
        attempts.extend(addresses.next().map(|address| attempt(address, Arc::clone(from), deadline)));
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

async fn attempt(
    address: SocketAddr,
    from: Arc<Vec<IpAddr>>,
    deadline: Duration,
) -> Result<TcpStream, (SocketAddr, io::Error)> {
    match timeout(deadline, connect(address, &from)).await {
        Ok(connected) => connected.map_err(|e| (address, e)),
        Err(_) => Err((address, io::ErrorKind::TimedOut.into())),
    }
}

async fn connect(address: SocketAddr, from: &[IpAddr]) -> io::Result<TcpStream> {
    if from.is_empty() {
        return TcpStream::connect(address).await;
    }
    let Some(own) = from.iter().find(|own| own.is_ipv4() == address.is_ipv4()) else {
        let why = "BindAddress in ssh_config names no address of this family";
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, why));
    };
    let socket = if own.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(*own, 0))?;
    socket.connect(address).await
}

/// A dead peer must be noticed, and small requests must not wait for large ones.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT_MILLIS)?;
    Ok(())
}

fn unreachable(endpoint: &Endpoint, failures: &[(SocketAddr, io::Error)], deadline: Duration) -> Error {
    let reason =
        |(address, error): &(SocketAddr, io::Error)| format!("{}: {}", address.ip(), reason(error, deadline));
    let reasons: Vec<String> = failures.iter().map(reason).collect();
    let hint = failures.last().map_or("", |(_, e)| advice(e));
    Error::new(Kind::Unreachable, "reach", endpoint).detail(reasons.join("; ")).hint(hint)
}

fn reason(error: &io::Error, deadline: Duration) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection was refused".into(),
        io::ErrorKind::TimedOut => format!("no answer within {} s", deadline.as_secs()),
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
        let usual = Manner::default();
        let error = dial(&endpoint("127.0.0.1", port), &usual).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unreachable);
        assert_eq!(
            error.to_string(),
            format!("cannot reach web1@127.0.0.1:{port}: 127.0.0.1: the connection was refused")
        );
        assert_eq!(error.hint_text(), Some("Check the port, and that the SSH server runs."));
        let error = dial(&endpoint("no such host.invalid", 22), &usual).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unreachable);
        assert!(error.to_string().contains("cannot be resolved"), "{error}");
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_fails() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let good = listener.local_addr().unwrap();
        let bad = SocketAddr::from(([127, 0, 0, 1], closed_port().await));
        let from = Arc::default();
        let stream = race(vec![bad, bad, good], &from, DEADLINE).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert_eq!(race(vec![bad, bad], &from, DEADLINE).await.unwrap_err().len(), 2);
    }

    #[tokio::test]
    async fn it_comes_from_where_it_is_told_and_goes_by_the_family_it_is_told() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let there = endpoint("127.0.0.1", listener.local_addr().unwrap().port());
        let from = Manner { bind: Some("127.0.0.2".into()), ..Manner::default() };
        let stream = dial(&there, &from).await.unwrap();
        assert_eq!(stream.local_addr().unwrap().ip().to_string(), "127.0.0.2");
        let refused = async |manner: Manner, expected: &str| {
            let error = dial(&there, &manner).await.unwrap_err();
            assert!(error.reason().contains(expected), "{}", error.reason());
        };
        refused(Manner { family: Family::Inet6, ..Manner::default() }, "AddressFamily").await;
        refused(Manner { bind: Some("::1".into()), ..Manner::default() }, "BindAddress").await;
    }
}
