//! Writing without a thread: whoever calls does the work. For simulations, where the same calls shall give
//! the same steps every time.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use super::writer::{BATCH_CALLS, Message, Write, Writer};

/// Where calls are carried out by who makes them.
pub(super) struct Desk(Mutex<Option<Open>>);

struct Open {
    writer: Writer,
    /// What nobody waits for, until somebody does.
    queued: Vec<Box<dyn Write>>,
}

impl Desk {
    pub fn new(writer: Writer) -> Self {
        Self(Mutex::new(Some(Open { writer, queued: Vec::new() })))
    }

    /// Queues a call, or carries it out with all that is queued. `false`: it was closed.
    pub fn take(&self, message: Message) -> bool {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = slot.as_mut() else { return false };
        match message {
            Message::Write(write) => {
                let is_waited_for = write.is_waited_for();
                open.queued.push(write);
                if is_waited_for || open.queued.len() >= BATCH_CALLS {
                    open.write();
                }
            }
            Message::Close(reply) => {
                open.write();
                *slot = None;
                answer(reply);
            }
        }
        true
    }
}

impl Open {
    fn write(&mut self) {
        self.writer.run(std::mem::take(&mut self.queued));
    }
}

fn answer(reply: oneshot::Sender<()>) {
    let _ = reply.send(()); // whoever asked may have stopped waiting
}

#[cfg(test)]
mod tests {
    use super::super::Journal;
    use super::super::testing::file;
    use crate::clock::{SeededRandom, SystemClock};

    fn open(path: &std::path::Path) -> Journal {
        Journal::open_inline(path, &SystemClock, &SeededRandom::new(1)).unwrap().journal
    }

    #[tokio::test]
    async fn what_is_queued_is_written_with_what_somebody_waits_for_and_goes_with_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let journal = open(&path);
        let job = journal.job("nightly").await.unwrap();
        journal.put_base(job, file("a")).await.unwrap();
        assert_eq!(journal.base_count(job).await.unwrap(), 0);
        journal.put_base_committed(job, file("b")).await.unwrap();
        assert_eq!(journal.base_count(job).await.unwrap(), 2);
        journal.put_base(job, file("c")).await.unwrap();
        drop(journal); // as a crash does
        let journal = open(&path);
        assert_eq!(journal.base_count(job).await.unwrap(), 2);
        journal.put_base(job, file("d")).await.unwrap();
        journal.close().await.unwrap();
        journal.close().await.unwrap();
        assert!(journal.put_base(job, file("e")).await.is_err());
        assert_eq!(open(&path).base_count(job).await.unwrap(), 3);
    }
}
