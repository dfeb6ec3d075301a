//! Files of this machine that are being read or staged.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::{ReadWriteFlags, retry_on_intr};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::failure::{Label, blocking};
use super::meta::{look, set_open};
use crate::entry::{Meta, Stat};
use crate::error::{self, Result};
use crate::tree::{SourceFile, StagedFile};

/// How much a read asks of the system at once, in bytes: what it sets aside for a file that turns out
/// shorter than it was asked for.
const READ_BYTES: usize = 1 << 20;

/// A file of this machine, open for reading.
#[derive(Debug)]
pub struct DiskSource {
    file: Arc<File>,
    label: Label,
}

impl DiskSource {
    pub(super) fn new(file: File, label: Label) -> Self {
        Self { file: file.into(), label }
    }
}

impl SourceFile for DiskSource {
    async fn stat(&self) -> Result<Stat> {
        let file = self.file.clone();
        blocking("look at", &self.label, move || look(&*file)).await
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes> {
        let file = self.file.clone();
        blocking("read", &self.label, move || read_range(&file, offset, len)).await
    }
}

/// A temporary file of this machine. Its operations run one after the other, in the order in which they
/// were first polled: the lock is fair, and it stays with the work even if nobody waits for it any more.
#[derive(Debug)]
pub struct DiskStaged {
    /// `None` once it is finished.
    file: Arc<Mutex<Option<File>>>,
    label: Label,
}

impl DiskStaged {
    pub(super) fn new(file: File, label: Label) -> Self {
        Self { file: Arc::new(Mutex::new(Some(file))), label }
    }

    async fn call<R: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&File) -> io::Result<R> + Send + 'static,
    ) -> Result<R> {
        let guard = self.file.clone().lock_owned().await;
        self.call_locked(guard, operation, move |slot| slot.as_ref().map(work)).await
    }

    async fn call_locked<R: Send + 'static>(
        &self,
        mut guard: OwnedMutexGuard<Option<File>>,
        operation: &'static str,
        work: impl FnOnce(&mut Option<File>) -> Option<io::Result<R>> + Send + 'static,
    ) -> Result<R> {
        let outcome = blocking(operation, &self.label, move || work(&mut guard).transpose()).await?;
        let finished = || self.label.error(error::Kind::Internal, operation).detail("it is finished already");
        outcome.ok_or_else(finished)
    }
}

impl StagedFile for DiskStaged {
    async fn stat(&self) -> Result<Stat> {
        self.call("look at", |file| look(file)).await
    }

    async fn write_at(&self, offset: u64, data: Bytes) -> Result<()> {
        self.call("write", move |file| file.write_all_at(&data, offset)).await
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes> {
        self.call("read back", move |file| read_range(file, offset, len)).await
    }

    async fn finish(&self, size: u64, meta: &Meta, durable: bool) -> Result<Stat> {
        let meta = *meta;
        let guard = self.file.clone().lock_owned().await;
        self.call_locked(guard, "finish", move |slot| {
            let outcome = finish(slot.as_ref()?, size, &meta, durable);
            if outcome.is_ok() {
                *slot = None;
            }
            Some(outcome)
        })
        .await
    }
}

/// The mtime is set after the last write and made durable with the content: a file that lost it in a
/// crash would look changed.
fn finish(file: &File, size: u64, meta: &Meta, durable: bool) -> io::Result<Stat> {
    if look(file)?.size != size {
        retry_on_intr(|| rustix::fs::ftruncate(file, size))?;
    }
    set_open(file, meta)?;
    if durable {
        retry_on_intr(|| rustix::fs::fsync(file))?;
    }
    look(file)
}

/// Reads until `len` bytes are there or the file ends.
pub(super) fn read_range(file: &File, offset: u64, len: u64) -> io::Result<Bytes> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let mut data = Vec::new();
    while data.len() < len {
        let have = data.len();
        data.resize(have + READ_BYTES.min(len - have), 0);
        let got = read_once(file, &mut data[have..], offset.saturating_add(have as u64))?;
        data.truncate(have + got);
        if got == 0 {
            break;
        }
    }
    Ok(data.into())
}

/// Reads the first `len` bytes if none of them has to be waited for (`RWF_NOWAIT`: preadv2(2)).
pub(super) fn read_cached(file: &File, len: u64) -> Option<Bytes> {
    let len = usize::try_from(len).ok()?;
    let mut data = vec![0; len];
    if len > 0 {
        let mut whole = [IoSliceMut::new(&mut data)];
        let got = rustix::io::preadv2(file, &mut whole, 0, ReadWriteFlags::NOWAIT).ok()?;
        if got != len {
            return None;
        }
    }
    Some(data.into())
}

fn read_once(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
