//! Runs checks, which panic as tests do, and keeps what they said.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};

thread_local! {
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on panics are kept for [`caught`] and not printed.
pub fn keep_panics() {
    set_hook(Box::new(|panic| SAID.with_borrow_mut(|said| *said = Some(describe(panic)))));
}

fn describe(panic: &PanicHookInfo<'_>) -> String {
    let text = panic.payload_as_str().unwrap_or("a panic without a text");
    match panic.location() {
        Some(location) => format!("{text} ({}:{})", location.file(), location.line()),
        None => text.into(),
    }
}

/// Runs it, and tells what it panicked with.
pub fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run))
        .map_err(|_| SAID.take().unwrap_or_else(|| "a panic on another thread".into()))
}
