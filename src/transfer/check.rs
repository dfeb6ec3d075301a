//! Whether the target is the one that is meant, found out while work has begun: what cannot be undone waits
//! for the answer.

use std::sync::Arc;

use tokio::sync::watch;

/// What may be done while there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folders {
    /// Folders may be made: the target is the one that is meant, and only lacks something.
    May,
    /// Nothing outside of the staging folder.
    Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not answered yet; whether folders may be made all the same.
    Asked(Folders),
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

    /// From now on there is no answer.
    pub fn ask(&self, folders: Folders) -> Answer {
        self.0.send_replace(State::Asked(folders));
        Answer(self.0.clone())
    }

    /// Waits for the answer.
    pub async fn pass(&self) -> bool {
        let mut state = self.0.subscribe();
        state
            .wait_for(|state| !matches!(state, State::Asked(_)))
            .await
            .is_ok_and(|state| *state == State::Passed)
    }

    /// Whether the answer was yes.
    pub fn has_passed(&self) -> bool {
        *self.0.borrow() == State::Passed
    }

    /// Whether folders may be made before there is an answer.
    pub fn lets_folders(&self) -> bool {
        *self.0.borrow() == State::Asked(Folders::May)
    }

    /// Whether the answer was no.
    pub fn is_void(&self) -> bool {
        *self.0.borrow() == State::Void
    }

    /// Something else tells that the target is another one; too late when the answer was yes, and no matter where
    /// the target only lacks something.
    pub fn give_up(&self) {
        self.0.send_if_modified(|state| {
            let is_open = *state == State::Asked(Folders::Wait);
            if is_open {
                *state = State::Void;
            }
            is_open
        });
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
        let is_open = matches!(state, State::Asked(_));
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
        let check = Check::passed();
        let answer = check.ask(Folders::Wait);
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
