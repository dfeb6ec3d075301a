//! Whether the network costs by what crosses it, as NetworkManager knows: its property `Metered`, asked for
//! over the system's D-Bus.
//!
//! One question needs no library: a login by user number, two calls, and the reply to the second
//! (D-Bus Specification 0.43, "Message Protocol" and "Authentication Protocol"). Where there is no bus or no
//! NetworkManager, or the answer is not understood, nothing is known.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The longest message that is read, in bytes, and how many there may be before the answer.
const MOST_BYTES: usize = 64 << 10;
const MOST_MESSAGES: usize = 16;

/// Message types.
const CALL: u8 = 1;
const RETURN: u8 = 2;

/// Fields of a header.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// The number of our question.
const QUESTION: u32 = 2;

/// What NetworkManager says; `None`: nobody says anything.
pub(super) async fn is_metered(bus: &Path) -> Option<bool> {
    let answer = timeout(PATIENCE, ask(bus)).await.ok()?.ok()??;
    // NMMetered: 1 yes, 2 no, 3 yes by a guess, 4 no by a guess.
    match answer {
        1 | 3 => Some(true),
        2 | 4 => Some(false),
        _ => None,
    }
}

async fn ask(bus: &Path) -> std::io::Result<Option<u32>> {
    let mut stream = UnixStream::connect(bus).await?;
    log_in(&mut stream).await?;
    let hello =
        call(1, ["/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", "org.freedesktop.DBus"], &[]);
    let get = call(
        QUESTION,
        [
            "/org/freedesktop/NetworkManager",
            "org.freedesktop.DBus.Properties",
            "Get",
            "org.freedesktop.NetworkManager",
        ],
        &["org.freedesktop.NetworkManager", "Metered"],
    );
    stream.write_all(&[hello, get].concat()).await?;
    for _ in 0..MOST_MESSAGES {
        let Some(message) = read(&mut stream).await? else { return Ok(None) };
        if message.answers == Some(QUESTION) {
            return Ok(message.value());
        }
    }
    Ok(None)
}

/// By the number of our user, which the kernel vouches for.
async fn log_in(stream: &mut UnixStream) -> std::io::Result<()> {
    let user = rustix::process::geteuid().as_raw().to_string();
    let hex: String = user.bytes().map(|byte| format!("{byte:02x}")).collect();
    stream.write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes()).await?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") && line.len() < 512 {
        line.push(stream.read_u8().await?);
    }
    if !line.starts_with(b"OK ") {
        return Err(std::io::ErrorKind::PermissionDenied.into());
    }
    stream.write_all(b"BEGIN\r\n").await
}

/// A call of path, interface, member, destination, with texts as its arguments.
fn call(serial: u32, [path, interface, member, destination]: [&str; 4], arguments: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    arguments.iter().for_each(|argument| put_text(&mut body, argument));
    let mut fields = Vec::new();
    for (code, kind, text) in [
        (PATH, b'o', path),
        (INTERFACE, b's', interface),
        (MEMBER, b's', member),
        (DESTINATION, b's', destination),
    ] {
        pad(&mut fields, 8);
        fields.extend([code, 1, kind, 0]);
        put_text(&mut fields, text);
    }
    if !arguments.is_empty() {
        pad(&mut fields, 8);
        fields.extend([SIGNATURE, 1, b'g', 0, arguments.len() as u8]);
        fields.extend(vec![b's'; arguments.len()]);
        fields.push(0);
    }
    let mut message = vec![b'l', CALL, 0, 1];
    for number in [body.len() as u32, serial, fields.len() as u32] {
        message.extend(number.to_le_bytes());
    }
    message.extend(fields);
    pad(&mut message, 8);
    message.extend(body);
    message
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    pad(bytes, 4);
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.bytes());
    bytes.push(0);
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

/// A message that came.
struct Message {
    /// The number of the call that it is the reply to; `None`: it is no reply, or an error.
    answers: Option<u32>,
    is_big_endian: bool,
    body: Vec<u8>,
}

impl Message {
    /// Its one argument, a variant that holds a number.
    fn value(&self) -> Option<u32> {
        let number = self.body.strip_prefix(&[1, b'u', 0, 0])?.first_chunk()?;
        Some(number_of(*number, self.is_big_endian))
    }
}

fn number_of(bytes: [u8; 4], is_big_endian: bool) -> u32 {
    if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}

/// `None`: it is too long.
async fn read(stream: &mut UnixStream) -> std::io::Result<Option<Message>> {
    let mut head = [0; 16];
    stream.read_exact(&mut head).await?;
    let is_big_endian = head[0] == b'B';
    let length = |at: usize| {
        let bytes = [head[at], head[at + 1], head[at + 2], head[at + 3]];
        usize::try_from(number_of(bytes, is_big_endian)).unwrap_or(usize::MAX)
    };
    let (body, fields) = (length(4), length(12));
    if body > MOST_BYTES || fields > MOST_BYTES {
        return Ok(None);
    }
    // The header, 16 bytes before the fields, is filled up to a multiple of 8.
    let mut rest = vec![0; fields.next_multiple_of(8) + body];
    stream.read_exact(&mut rest).await?;
    let answers = answers(&rest[..fields], is_big_endian).filter(|_| head[1] == RETURN);
    Ok(Some(Message { answers, is_big_endian, body: rest.split_off(fields.next_multiple_of(8)) }))
}

/// The number of the call that this is the reply to. `None` where there is none, or before it something that
/// is not understood.
fn answers(fields: &[u8], is_big_endian: bool) -> Option<u32> {
    let mut at = 0usize;
    loop {
        at = at.next_multiple_of(8);
        let [code, 1, kind, 0] = *fields.get(at..at + 4)? else { return None };
        at += 4;
        let number = |at: usize| {
            let bytes = fields.get(at..)?.first_chunk()?;
            Some(number_of(*bytes, is_big_endian))
        };
        at += match kind {
            b'u' if code == REPLY_SERIAL => return number(at),
            b'u' => 4,
            b's' | b'o' => usize::try_from(number(at)?).ok()?.checked_add(5)?,
            b'g' => usize::from(*fields.get(at)?) + 2,
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    /// A reply as dbus-daemon 1.14 sends it: number, reply to, who it is for, who it is from.
    fn reply(kind: u8, answers: u32, body: &[u8]) -> Vec<u8> {
        let mut fields = vec![REPLY_SERIAL, 1, b'u', 0];
        fields.extend(answers.to_le_bytes());
        fields.extend([DESTINATION, 1, b's', 0]);
        put_text(&mut fields, ":1.7");
        pad(&mut fields, 8);
        fields.extend([SIGNATURE, 1, b'g', 0, 1, b'v', 0]);
        let mut message = vec![b'l', kind, 1, 1];
        for number in [body.len() as u32, 9, fields.len() as u32] {
            message.extend(number.to_le_bytes());
        }
        message.extend(fields);
        pad(&mut message, 8);
        message.extend(body);
        message
    }

    /// What is known when a bus answers with these messages.
    async fn check(messages: Vec<Vec<u8>>, expected: Option<bool>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus");
        let listener = UnixListener::bind(&path).unwrap();
        let bus = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; 256];
            let read = stream.read(&mut heard).await.unwrap();
            assert!(heard[..read].starts_with(b"\0AUTH EXTERNAL "));
            stream.write_all(b"OK 1234deadbeef\r\n").await.unwrap();
            stream.write_all(&messages.concat()).await.unwrap();
            drop(stream.read_to_end(&mut heard).await);
        };
        let (answer, ()) = tokio::join!(is_metered(&path), bus);
        assert_eq!(answer, expected);
    }

    fn metered(value: u8) -> Vec<u8> {
        reply(RETURN, QUESTION, &[1, b'u', 0, 0, value, 0, 0, 0])
    }

    #[tokio::test]
    async fn the_answer_is_found_among_other_messages() {
        let name = || reply(RETURN, 1, b"\x04\0\0\0:1.7\0");
        check(vec![name(), metered(1)], Some(true)).await;
        check(vec![name(), reply(4, 0, &[]), metered(4)], Some(false)).await;
        check(vec![metered(0)], None).await;
        check(vec![name(), reply(3, QUESTION, b"\x02\0\0\0no\0")], None).await;
    }

    #[tokio::test]
    async fn what_is_not_understood_is_not_known() {
        check(vec![reply(RETURN, QUESTION, &[1, b's', 0, 0])], None).await;
        check(vec![vec![b'l', RETURN, 0, 1, 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 127]], None).await;
        check(vec![b"nonsense".repeat(9)], None).await;
        assert_eq!(is_metered(Path::new("/nowhere")).await, None);
    }

    #[test]
    fn headers_of_any_bytes_are_survived() {
        for length in 0..64usize {
            let fields: Vec<u8> = (0..length).map(|at| [5, 1, b'g', 0, 255, b's'][at % 6]).collect();
            assert_eq!(answers(&fields, length % 2 == 0), None);
        }
    }
}
