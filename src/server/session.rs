//! Packets in, packets out, around one [`Sftp`]: the order of requests is the order of replies.
//!
//! Three things run beside each other: reading ahead, file work on a blocking thread, and writing
//! replies. Reading goes on while a reply waits for the client to take it: SSH delivers the client's
//! "window adjust" behind its requests, so a server that stopped reading would wait for ever (seen with
//! clients that send all their READs at once). What is read ahead is bounded in bytes; a client that
//! fills that too and takes no reply for [`STUCK`] is left.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh_sftp::protocol::Packet;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::misbehave::{Cut, Op, Stall, Verdict};
use super::refusal::Refusal;
use super::request::Ask;
use super::sftp::{MAX_PACKET_BYTES, SessionOptions, Sftp, refuse};
use crate::remote::dialect::FrameLimits;
use crate::remote::stream::DialectStream;

/// Requests read ahead, in bytes. A READ counts [`FRAME_BYTES`], so this is 80,000 of them.
const READ_AHEAD_BYTES: usize = 8 * 1024 * 1024;

/// What keeping a request costs besides its bytes.
const FRAME_BYTES: usize = 80;

/// Most requests handed to the blocking thread at once.
const BATCH_REQUESTS: usize = 64;

/// A batch ends early when so much content was moved, so that the line does not idle meanwhile.
const BATCH_BYTES: usize = 512 * 1024;

/// How long a session may stand still with its read-ahead used up: no disk takes that long, so it is the
/// client that takes no replies.
const STUCK: Duration = Duration::from_secs(120);

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client closed its side, and every request before that was answered.
    Closed,
    /// The stream broke, or the client does not take its replies.
    Lost,
    /// The client sent what is no SFTP.
    BadPacket,
    /// A scripted fault: whoever owns the connection is to cut it without a word.
    Cut,
}

/// Serves one SFTP session on `stream` until it ends. Dropping the future ends the session after the
/// request that is being carried out.
pub async fn serve_stream<S>(stream: S, options: SessionOptions) -> End
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let limits = FrameLimits { packet_bytes: MAX_PACKET_BYTES };
    let stream = DialectStream::for_server(stream, limits);
    let fault = stream.fault();
    let (reader, writer) = tokio::io::split(stream);
    let (queue, requests) = unbounded_channel(); // bounded by the permits in what it carries
    let mut reading = std::pin::pin!(read_requests(reader, queue, limits.inner_packet_bytes()));
    let mut answering = std::pin::pin!(answer_requests(requests, writer, Sftp::new(options)));
    let mut read = None;
    let end = loop {
        tokio::select! {
            end = &mut answering => break end,
            ended = &mut reading, if read.is_none() => read = Some(ended),
        }
        if read == Some(Read::Stuck) {
            break End::Lost;
        }
    };
    // What came whole was answered, but the client had more to say.
    let end = if (read, end) == (Some(Read::Broken), End::Closed) { End::Lost } else { end };
    match fault.get() {
        Some(error) => {
            tracing::debug!(%error, "SFTP session ended");
            End::BadPacket
        }
        None => end,
    }
}

/// One request as it came, and its share of the read-ahead.
struct Frame {
    bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

/// Why no more requests are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// The client closed its side behind a whole request.
    Ended,
    /// The stream broke, or the session is over.
    Broken,
    /// See [`STUCK`].
    Stuck,
}

async fn read_requests(
    mut reader: impl AsyncRead + Unpin,
    queue: UnboundedSender<Frame>,
    limit: u32,
) -> Read {
    let ahead = Arc::new(Semaphore::new(READ_AHEAD_BYTES));
    loop {
        let bytes = match read_frame(&mut reader, limit).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Read::Ended,
            Err(_) => return Read::Broken,
        };
        let cost = (bytes.len() + FRAME_BYTES) as u32; // far below 4 GiB, as every packet is
        let share = ahead.clone().acquire_many_owned(cost);
        let Ok(Ok(share)) = tokio::time::timeout(STUCK, share).await else { return Read::Stuck };
        if queue.send(Frame { bytes, _share: share }).is_err() {
            return Read::Broken;
        }
    }
}

/// A packet behind its length field; `None` where the stream ends between packets.
async fn read_frame(reader: &mut (impl AsyncRead + Unpin), limit: u32) -> io::Result<Option<Bytes>> {
    let mut field = [0; 4];
    if reader.read(&mut field[..1]).await? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut field[1..]).await?;
    let length = u32::from_be_bytes(field);
    if length > limit {
        return Err(io::ErrorKind::InvalidData.into()); // the dialect layer lets none such pass
    }
    let mut bytes = vec![0; length as usize];
    reader.read_exact(&mut bytes).await?;
    Ok(Some(bytes.into()))
}

async fn answer_requests(
    mut requests: UnboundedReceiver<Frame>,
    mut writer: impl AsyncWrite + Unpin,
    sftp: Sftp,
) -> End {
    let script = sftp.script().clone();
    let mut worker =
        Box::new(Worker { sftp, greeted: false, requests: VecDeque::new(), replies: Vec::new() });
    while let Some(frame) = requests.recv().await {
        worker.requests.push_back(Request::Raw(frame));
        while worker.requests.len() < BATCH_REQUESTS
            && let Ok(frame) = requests.try_recv()
        {
            worker.requests.push_back(Request::Raw(frame));
        }
        while !worker.requests.is_empty() {
            let Ok((returned, stop)) = tokio::task::spawn_blocking(move || worker.work()).await else {
                return End::Lost; // it panicked, or the runtime is shutting down
            };
            worker = returned;
            if write_all(&mut writer, &mut worker.replies).await.is_err() {
                return End::Lost;
            }
            match stop {
                Stop::Batch => {}
                Stop::Stall(stall) => script.stall(stall).await,
                Stop::End(end) => return end,
            }
        }
    }
    End::Closed
}

async fn write_all(writer: &mut (impl AsyncWrite + Unpin), replies: &mut Vec<Bytes>) -> io::Result<()> {
    for reply in replies.drain(..) {
        writer.write_all(&reply).await?;
    }
    writer.flush().await
}

/// A request on its way through the worker.
enum Request {
    Raw(Frame),
    /// Judged already; it stood still in between.
    Judged(Box<Judged>),
}

struct Judged {
    id: u32,
    ask: Ask,
    verdict: Verdict,
    frame: Frame,
}

impl Request {
    fn bytes(&self) -> usize {
        match self {
            Self::Raw(frame) => frame.bytes.len(),
            Self::Judged(judged) => judged.frame.bytes.len(),
        }
    }
}

/// Why the worker comes back.
enum Stop {
    Batch,
    Stall(Stall),
    End(End),
}

/// What moves to the blocking thread and back.
struct Worker {
    sftp: Sftp,
    greeted: bool,
    requests: VecDeque<Request>,
    replies: Vec<Bytes>,
}

impl Worker {
    fn work(mut self: Box<Self>) -> (Box<Self>, Stop) {
        let stop = self.batch();
        (self, stop)
    }

    fn batch(&mut self) -> Stop {
        let mut moved = 0;
        while moved < BATCH_BYTES
            && let Some(request) = self.requests.pop_front()
        {
            moved += request.bytes();
            let replies = self.replies.len();
            if let Some(stop) = self.one(request) {
                return stop;
            }
            moved += self.replies[replies..].iter().map(Bytes::len).sum::<usize>();
        }
        Stop::Batch
    }

    fn one(&mut self, request: Request) -> Option<Stop> {
        match request {
            Request::Raw(frame) => self.judge(frame),
            Request::Judged(judged) => self.perform(judged.id, judged.ask, judged.verdict),
        }
    }

    fn judge(&mut self, frame: Frame) -> Option<Stop> {
        let id = id_of(&frame.bytes);
        let Ok(packet) = Packet::try_from(&mut frame.bytes.clone()) else {
            self.reply(refuse(id, Refusal::bad_message("the packet cannot be read")), None);
            return Some(Stop::End(End::BadPacket));
        };
        let ask = match Ask::from_packet(packet) {
            Ok(ask) => ask,
            Err(refusal) => {
                self.reply(refuse(id, refusal), None);
                return None;
            }
        };
        let is_init = ask.op() == Op::Init;
        if is_init == self.greeted {
            return Some(Stop::End(End::BadPacket)); // INIT comes first and once
        }
        self.greeted = true;
        let mut verdict = self.sftp.judge(&ask);
        let Some(stall) = verdict.stall.take() else { return self.perform(id, ask, verdict) };
        self.requests.push_front(Request::Judged(Box::new(Judged { id, ask, verdict, frame })));
        Some(Stop::Stall(stall))
    }

    fn perform(&mut self, id: u32, ask: Ask, verdict: Verdict) -> Option<Stop> {
        if verdict.cut == Some(Cut::Before) {
            return Some(Stop::End(End::Cut));
        }
        if let Some((code, text)) = &verdict.fail {
            self.reply(refuse(id, Refusal::failure(text)), Some(*code));
            return None;
        }
        let is_slow = ask.op() == Op::Fsync;
        let reply = self.sftp.answer(id, ask, &verdict);
        if verdict.cut.is_some() {
            return Some(Stop::End(End::Cut));
        }
        self.reply(reply, None);
        is_slow.then_some(Stop::Batch) // what was answered before it need not wait for the next one
    }

    /// Queues a reply; a scripted status code replaces the one that version 3 has a name for.
    fn reply(&mut self, packet: Packet, code: Option<u32>) {
        let Ok(bytes) = Bytes::try_from(packet) else { return };
        self.replies.push(match code {
            Some(code) => with_code(&bytes, code),
            None => bytes,
        });
    }
}

/// The id of a request (type, id, …); none is so short that the dialect layer let it pass without.
fn id_of(request: &[u8]) -> u32 {
    request.get(1..).and_then(|rest| rest.first_chunk()).map_or(0, |id| u32::from_be_bytes(*id))
}

/// A STATUS packet (length, type, id, code, …) with another code.
fn with_code(status: &[u8], code: u32) -> Bytes {
    let mut bytes = status.to_vec();
    bytes[9..13].copy_from_slice(&code.to_be_bytes());
    bytes.into()
}
