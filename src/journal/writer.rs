//! The one thread that writes: takes what is queued, runs it in one transaction, answers after COMMIT.

use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

use super::failure::Failure;
use super::inline::Desk;

/// Calls that may wait in the queue. Whoever finds it full waits for room.
const QUEUE_CALLS: usize = 2_048;

/// Most calls of one transaction.
pub(super) const BATCH_CALLS: usize = 1_000;

/// How long calls that nobody waits for may wait for company. A transaction writes each page it touches
/// once, however many calls touch it.
const LINGER: Duration = Duration::from_millis(20);

/// What is sent to the thread.
pub(super) enum Message {
    /// Something to write.
    Write(Box<dyn Write>),
    /// Nothing more comes. Answered when the file is closed.
    Close(oneshot::Sender<()>),
}

/// One call that writes.
pub(super) trait Write: Send {
    /// Does it, inside a transaction that others share.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;

    /// Whether somebody waits for the answer.
    fn is_waited_for(&self) -> bool;

    /// Tells the caller, if it waits, that the transaction was committed, or why not.
    fn answer(self: Box<Self>, outcome: Result<(), Failure>);
}

/// Where the answer to a call goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Failure>>;

/// A call made of a closure. Without `reply` nobody waits for it.
pub(super) struct Call<F, T> {
    work: Option<F>,
    result: Option<T>,
    reply: Option<Reply<T>>,
}

impl<F, T> Call<F, T> {
    pub fn new(work: F, reply: Option<Reply<T>>) -> Self {
        Self { work: Some(work), result: None, reply }
    }
}

impl<F, T> Write for Call<F, T>
where
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if let Some(work) = self.work.take() {
            self.result = Some(work(connection)?);
        }
        Ok(())
    }

    fn is_waited_for(&self) -> bool {
        self.reply.is_some()
    }

    fn answer(self: Box<Self>, outcome: Result<(), Failure>) {
        let Self { result, reply, .. } = *self;
        let Some(reply) = reply else { return };
        let result = outcome.and_then(|()| result.ok_or_else(Failure::closed));
        let _ = reply.send(result); // whoever asked may have stopped waiting
    }
}

/// Starts the thread. It ends when it is told to close or when the last sender is gone, after
/// everything queued before. `folder` is removed after that.
pub(super) fn start(
    connection: Connection,
    folder: Option<TempDir>,
    failure: Arc<OnceLock<Failure>>,
) -> std::io::Result<Mailbox> {
    let (sender, receiver) = mpsc::channel(QUEUE_CALLS);
    let writer = Writer { connection, failure };
    let thread = thread::Builder::new().name("journal".into()).spawn(move || {
        let closed = writer.work(receiver);
        drop(folder);
        if let Some(reply) = closed {
            let _ = reply.send(()); // whoever asked may have stopped waiting
        }
    })?;
    Ok(Mailbox::Thread { sender, thread: thread.thread().clone() })
}

/// Who writes.
pub(super) enum Mailbox {
    /// The thread, at the other end of a queue.
    Thread {
        /// Its queue.
        sender: mpsc::Sender<Message>,
        /// To wake it.
        thread: Thread,
    },
    /// Whoever calls.
    Inline(Desk),
}

impl Mailbox {
    /// Without a thread.
    pub fn inline(connection: Connection, failure: Arc<OnceLock<Failure>>) -> Self {
        Self::Inline(Desk::new(Writer { connection, failure }))
    }

    /// Queues a message, once there is room. `false`: the thread has ended.
    pub async fn send(&self, message: Message) -> bool {
        let (sender, thread) = match self {
            Self::Thread { sender, thread } => (sender, thread),
            Self::Inline(desk) => return desk.take(message),
        };
        let waits_for_company = matches!(&message, Message::Write(write) if !write.is_waited_for());
        let sent = sender.send(message).await.is_ok();
        if !waits_for_company {
            thread.unpark();
        }
        sent
    }
}

/// The connection that writes.
pub(super) struct Writer {
    connection: Connection,
    /// Set once by us, read by every handle.
    failure: Arc<OnceLock<Failure>>,
}

impl Writer {
    fn work(mut self, mut receiver: mpsc::Receiver<Message>) -> Option<oneshot::Sender<()>> {
        let mut messages = Vec::new();
        while receiver.blocking_recv_many(&mut messages, BATCH_CALLS) > 0 {
            gather_company(&mut messages, &mut receiver);
            let mut closing = None;
            let mut batch = Vec::with_capacity(messages.len());
            for message in messages.drain(..) {
                match message {
                    Message::Write(write) => batch.push(write),
                    Message::Close(reply) => closing = Some(reply),
                }
            }
            self.run(batch);
            if closing.is_some() {
                crate::crash::point("journal: before it is closed");
                return closing;
            }
        }
        None
    }

    /// Runs calls in one transaction, and answers them.
    pub fn run(&mut self, mut batch: Vec<Box<dyn Write>>) {
        let outcome = match self.failure.get() {
            Some(failure) => Err(failure.clone()),
            None => commit(&mut self.connection, &mut batch).map_err(|e| self.fail(&e)),
        };
        for write in batch {
            write.answer(outcome.clone());
        }
    }

    fn fail(&self, error: &rusqlite::Error) -> Failure {
        let failure = Failure::of(error);
        tracing::error!(%error, "the journal cannot be written");
        self.failure.get_or_init(|| failure).clone()
    }
}

/// Waits for more of what nobody waits for, until somebody does or enough has come together.
fn gather_company(messages: &mut Vec<Message>, receiver: &mut mpsc::Receiver<Message>) {
    let until = Instant::now() + LINGER;
    let may_wait = |message: &Message| matches!(message, Message::Write(write) if !write.is_waited_for());
    while messages.len() < BATCH_CALLS && messages.iter().all(may_wait) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
        while messages.len() < BATCH_CALLS
            && let Ok(message) = receiver.try_recv()
        {
            messages.push(message);
        }
    }
}

fn commit(connection: &mut Connection, batch: &mut [Box<dyn Write>]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for write in batch {
        write.run(&transaction)?;
    }
    crate::crash::point("journal: before a commit");
    transaction.commit()?;
    crate::crash::point("journal: after a commit");
    Ok(())
}
