//! Whether the target is the one that is meant, found out while work has begun: what cannot be undone waits
//! for the answer.

use std::sync::Arc;

use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Asked,
    Passed,
    Void,
}

/// Waits for the answer.
#[derive(Debug, Clone)]
pub(super) struct Check(Arc<watch::Sender<State>>);

/// Gives the answer. Dropping it unused is a no.
pub(super) struct Answer(Arc<watch::Sender<State>>);

impl Check {
    /// The answer is yes.
    pub fn passed() -> Self {
        Self(Arc::new(watch::Sender::new(State::Passed)))
    }

    /// There is no answer yet.
    pub fn new() -> (Self, Answer) {
        let state = Arc::new(watch::Sender::new(State::Asked));
        (Self(state.clone()), Answer(state))
    }

    /// Waits for the answer.
    pub async fn pass(&self) -> bool {
        let mut state = self.0.subscribe();
        state.wait_for(|state| *state != State::Asked).await.is_ok_and(|state| *state == State::Passed)
    }

    /// Whether the answer was no.
    pub fn is_void(&self) -> bool {
        *self.0.borrow() == State::Void
    }

    /// Something else tells that the answer is no; too late when it was yes.
    pub fn give_up(&self) {
        decide(&self.0, State::Void);
    }
}

impl Answer {
    /// The answer.
    pub fn say(self, yes: bool) {
        decide(&self.0, if yes { State::Passed } else { State::Void });
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        decide(&self.0, State::Void);
    }
}

fn decide(state: &watch::Sender<State>, answer: State) {
    state.send_if_modified(|state| {
        let is_open = *state == State::Asked;
        if is_open {
            *state = answer;
        }
        is_open
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(answers: impl FnOnce(&Check, Answer), expected: bool) {
        let (check, answer) = Check::new();
        let pass = check.pass();
        tokio::pin!(pass);
        assert!(futures_util::poll!(pass.as_mut()).is_pending());
        assert!(!check.is_void());
        answers(&check, answer);
        assert_eq!((pass.await, check.is_void()), (expected, !expected));
    }

    #[tokio::test]
    async fn the_first_answer_counts_and_none_is_a_no() {
        check(|_, answer| answer.say(true), true).await;
        check(|_, answer| answer.say(false), false).await;
        check(|_, answer| drop(answer), false).await;
        check(|check, _answer| check.give_up(), false).await;
        let said_first = |check: &Check, answer: Answer| {
            answer.say(true);
            check.give_up();
        };
        check(said_first, true).await;
        assert!(Check::passed().pass().await);
    }
}
