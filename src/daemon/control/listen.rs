//! The daemon's side of the control socket.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::MOST_REQUEST_BYTES;
use super::protocol::{Answer, Ask, Request, Told};
use crate::error::{Error, Kind, Result};
use crate::path::escape;

/// Connections at once; more wait to be accepted.
const MOST_CONNECTIONS: usize = 64;

/// How long a connection may say nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// How long an answer may take to be read.
const READ_BY: Duration = Duration::from_secs(10);

/// Between two tries to accept, where the system refuses.
const REFUSED: Duration = Duration::from_millis(200);

/// Something that was asked, and where the answer goes.
pub(in crate::daemon) struct Asked {
    pub ask: Ask,
    pub reply: oneshot::Sender<Result<Told>>,
}

/// A socket that is listened at; gone when dropped.
pub(in crate::daemon) struct Listening {
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens at `path`, which only the holder of the state folder's lock may do: what was left there is removed.
pub(in crate::daemon) fn listen(path: &Path, asked: mpsc::Sender<Asked>) -> Result<Listening> {
    let shown = escape(path.as_os_str().as_encoded_bytes());
    let error = |e: io::Error| {
        let error = Error::new(Kind::Usage, "listen at", &shown).because(e);
        error
            .hint("A socket's path has some 100 bytes at most: name a shorter state folder with --state DIR.")
    };
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(error(e)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(error)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(error)?;
    let task = tokio::spawn(accept(listener, asked));
    Ok(Listening { task })
}

async fn accept(listener: UnixListener, asked: mpsc::Sender<Asked>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while let Ok(permit) = room.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot accept at the control socket: {error}");
                tokio::time::sleep(REFUSED).await;
                continue;
            }
        };
        let asked = asked.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(stream, asked).await {
                tracing::debug!("a connection to the control socket ends: {error}");
            }
            drop(permit);
        });
    }
}

async fn serve(stream: UnixStream, asked: mpsc::Sender<Asked>) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let line = if may_ask(peer) { timeout(SILENCE, read_line(&mut reader)).await?? } else { None };
        let answer = match (line, may_ask(peer)) {
            (_, false) => {
                let error = Error::new(Kind::Usage, "do that", "for this user");
                Err(error.detail(format!("user {peer} does not run this daemon")))
            }
            (None, true) => return Ok(()),
            (Some(line), true) => answer(&line, &asked).await,
        };
        let text = Answer::of(answer).line().map_err(io::Error::other)?;
        timeout(READ_BY, writer.write_all(text.as_bytes())).await??;
        if !may_ask(peer) {
            return Ok(());
        }
    }
}

/// Whoever the daemon runs as, and root.
fn may_ask(peer: u32) -> bool {
    peer == rustix::process::geteuid().as_raw() || peer == 0
}

/// The next line without its end; `None`: there is none. Errors if it is too long or no text.
async fn read_line(reader: &mut BufReader<impl tokio::io::AsyncRead + Unpin>) -> io::Result<Option<String>> {
    let mut line = String::new();
    reader.take(MOST_REQUEST_BYTES).read_line(&mut line).await?;
    match line.strip_suffix('\n') {
        _ if line.is_empty() => Ok(None),
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "a request without an end")),
    }
}

async fn answer(line: &str, asked: &mpsc::Sender<Asked>) -> Result<Told> {
    let ask = Request::parse(line)?;
    let (reply, answer) = oneshot::channel();
    let ends = || Error::new(Kind::Interrupted, "do that", "").detail("the daemon ends");
    asked.send(Asked { ask, reply }).await.map_err(|_| ends())?;
    answer.await.unwrap_or_else(|_| Err(ends()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(sent: &[u8], expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (asked, mut heard) = mpsc::channel::<Asked>(1);
        let _listening = listen(&path, asked).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        tokio::spawn(async move {
            while let Some(asked) = heard.recv().await {
                asked.reply.send(Ok(Told::Done(format!("{:?}", asked.ask)))).unwrap();
            }
        });
        let (mut reader, mut writer) = UnixStream::connect(&path).await.unwrap().into_split();
        let sent = sent.to_vec();
        tokio::spawn(async move {
            let _ = writer.write_all(&sent).await; // the other end may have had enough
            writer.shutdown().await
        });
        let mut text = Vec::new();
        let _ = timeout(Duration::from_secs(20), reader.read_to_end(&mut text)).await.unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[tokio::test]
    async fn lines_are_answered_in_order_and_what_is_no_line_ends_the_connection() {
        let status = "{\"version\":1,\"done\":\"Status\"}\n";
        let ask = "{\"version\":1,\"do\":\"status\"}\n";
        check(ask.as_bytes(), status).await;
        check(ask.repeat(3).as_bytes(), &status.repeat(3)).await;
        check(b"", "").await;
        check(ask.trim_end().as_bytes(), "").await;
        check(&[b'x'; 100 << 10], "").await;
        check(b"\xff\n", "").await;
        let refused = "{\"version\":1,\"error\":{\"kind\":\"usage\",\"message\":\"cannot understand the request: \
                       expected value at line 1 column 1\",\"hint\":null}}\n";
        check(format!("x\n{ask}").as_bytes(), &format!("{refused}{status}")).await;
    }
}
