//! File events from the operating system: inotify(7), one queue per watched root.
//!
//! Events carry names as bytes and the number of the folder they happened in. The kernel's queue is bounded
//! (`fs.inotify.max_queued_events`); when it was full, an event says so.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// Bytes of events read at once: some 2,000 events.
const READ_BYTES: usize = 64 * 1024;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A name appeared, or stands for something else now.
    Came,
    /// A name disappeared.
    Went,
    /// Content or metadata changed.
    Changed,
    /// The root itself, or the folder above it, was deleted or renamed.
    RootWent,
    /// The watch of this number has ended: its folder was deleted or unmounted, or we ended it.
    Ended,
    /// Events were lost.
    Overflow,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// The folder in which, or to which it happened.
    pub number: i32,
    /// What happened.
    pub what: What,
    /// Whether it happened to a folder.
    pub is_dir: bool,
    /// To which name in it; `None`: to the folder itself.
    pub name: Option<Vec<u8>>,
}

/// Why a folder is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It is the root.
    Root,
    /// It is below the root.
    Below,
    /// The root is in it: only what goes away in it is told.
    Above,
}

/// Where events come from.
pub(super) trait Source: Send {
    /// Is readable when there are events.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Watches an open folder: from here on there is an event for each change in it. A folder that is
    /// watched already keeps its number. Errors with `ENOSPC` when the system's limit is reached.
    fn watch(&mut self, folder: &File, role: Role) -> io::Result<i32>;

    /// Ends a watch. One that has ended by itself is no error.
    fn unwatch(&mut self, number: i32) -> io::Result<()>;

    /// Appends the events that there are, as many as fit into a buffer. Never waits.
    fn read(&mut self, events: &mut Vec<Event>) -> io::Result<()>;
}

/// The kernel's queue.
pub(super) struct Inotify {
    queue: OwnedFd,
    buffer: Box<[MaybeUninit<u8>]>,
}

impl Inotify {
    /// An empty queue. Errors with `EMFILE` when this user has too many (`fs.inotify.max_user_instances`).
    pub fn open() -> io::Result<Self> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { queue, buffer: vec![MaybeUninit::uninit(); READ_BYTES].into() })
    }
}

impl Source for Inotify {
    fn fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }

    /// By its descriptor, so that it is the very folder that is listed afterwards, whoever renames meanwhile.
    fn watch(&mut self, folder: &File, role: Role) -> io::Result<i32> {
        let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
        Ok(inotify::add_watch(&self.queue, path, flags(role))?)
    }

    fn unwatch(&mut self, number: i32) -> io::Result<()> {
        match inotify::remove_watch(&self.queue, number) {
            Err(Errno::INVAL) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let mut reader = Reader::new(&self.queue, &mut self.buffer);
        loop {
            match reader.next() {
                Ok(event) => events.extend(event_of(&event)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if reader.is_buffer_empty() {
                return Ok(());
            }
        }
    }
}

/// What is asked for. A change of a folder itself is told by the folder it is in; of the root, only its
/// renaming is told by itself: it is not deleted for good while somebody has it open, and we have.
fn flags(role: Role) -> WatchFlags {
    let gone = WatchFlags::DELETE | WatchFlags::MOVED_FROM;
    let came = WatchFlags::CREATE | WatchFlags::MOVED_TO;
    let content = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB;
    let itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
    let asked = match role {
        Role::Root => gone | came | content | itself,
        Role::Below => gone | came | content,
        Role::Above => gone | itself | WatchFlags::MASK_ADD,
    };
    asked | WatchFlags::ONLYDIR | WatchFlags::EXCL_UNLINK
}

fn event_of(event: &inotify::Event<'_>) -> Option<Event> {
    let is = |flags| event.events().intersects(flags);
    let what = match () {
        () if is(ReadFlags::QUEUE_OVERFLOW) => What::Overflow,
        () if is(ReadFlags::IGNORED | ReadFlags::UNMOUNT) => What::Ended,
        () if is(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF) => What::RootWent,
        () if is(ReadFlags::CREATE | ReadFlags::MOVED_TO) => What::Came,
        () if is(ReadFlags::DELETE | ReadFlags::MOVED_FROM) => What::Went,
        () if is(ReadFlags::MODIFY | ReadFlags::CLOSE_WRITE | ReadFlags::ATTRIB) => What::Changed,
        () => return None,
    };
    let name = event.file_name().map(|name| name.to_bytes().to_vec());
    Some(Event { number: event.wd(), what, is_dir: is(ReadFlags::ISDIR), name })
}
