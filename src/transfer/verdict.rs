//! Something that is decided once and that many wait for. They go on in the order in which they came, so that
//! the same round takes the same steps; tokio's `watch` wakes them in any order.

use std::sync::OnceLock;

use tokio::sync::Notify;

/// What is decided, once it is.
#[derive(Debug)]
pub(super) struct Verdict<T> {
    value: OnceLock<T>,
    decided: Notify,
}

impl<T: Copy> Verdict<T> {
    /// Not decided yet.
    pub fn new() -> Self {
        Self { value: OnceLock::new(), decided: Notify::new() }
    }

    /// Decides, unless that was done before.
    pub fn decide(&self, value: T) {
        if self.value.set(value).is_ok() {
            self.decided.notify_waiters();
        }
    }

    /// What was decided, if it was.
    pub fn known(&self) -> Option<T> {
        self.value.get().copied()
    }

    /// Waits until it is decided.
    pub async fn wait(&self) -> T {
        loop {
            let decided = self.decided.notified(); // from now on nothing is missed
            match self.known() {
                Some(value) => return value,
                None => decided.await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::join3;

    use super::*;

    #[tokio::test]
    async fn the_first_word_counts_and_is_heard_in_the_order_of_waiting() {
        let (verdict, heard) = (Verdict::new(), Mutex::new(Vec::new()));
        let hear = async |who| {
            let value = verdict.wait().await;
            heard.lock().unwrap().push((who, value));
        };
        let decide = async {
            assert_eq!(verdict.known(), None);
            verdict.decide(1);
            verdict.decide(2);
        };
        join3(hear("first"), hear("second"), decide).await;
        hear("late").await;
        assert_eq!(*heard.lock().unwrap(), [("first", 1), ("second", 1), ("late", 1)]);
    }
}
