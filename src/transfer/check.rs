//! Whether the target is the one that is meant, found out while work has begun: what cannot be undone waits
//! for the answer.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

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

/// The answer so far. Those who wait for it go on in the order in which they came.
#[derive(Debug)]
struct Word {
    state: Mutex<State>,
    answered: Notify,
}

/// Waits for the answer.
#[derive(Debug, Clone)]
pub(super) struct Check(Arc<Word>);

/// Gives the answer. Dropping it unused is a no.
pub(super) struct Answer(Arc<Word>);

impl Word {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Answers, if it is still asked in one of these ways.
    fn decide(&self, asked: &[Folders], answer: State) {
        let mut state = self.state();
        if matches!(*state, State::Asked(folders) if asked.contains(&folders)) {
            *state = answer;
            self.answered.notify_waiters();
        }
    }
}

impl Check {
    /// The answer is yes.
    pub fn passed() -> Self {
        Self(Arc::new(Word { state: Mutex::new(State::Passed), answered: Notify::new() }))
    }

    /// From now on there is no answer.
    pub fn ask(&self, folders: Folders) -> Answer {
        *self.0.state() = State::Asked(folders);
        Answer(self.0.clone())
    }

    /// Waits for the answer.
    pub async fn pass(&self) -> bool {
        loop {
            let answered = self.0.answered.notified(); // from now on nothing is missed
            let state = *self.0.state();
            match state {
                State::Passed => return true,
                State::Void => return false,
                State::Asked(_) => answered.await,
            }
        }
    }

    /// Whether the answer was yes.
    pub fn has_passed(&self) -> bool {
        *self.0.state() == State::Passed
    }

    /// Whether folders may be made before there is an answer.
    pub fn lets_folders(&self) -> bool {
        *self.0.state() == State::Asked(Folders::May)
    }

    /// Whether the answer was no.
    pub fn is_void(&self) -> bool {
        *self.0.state() == State::Void
    }

    /// Something else tells that the target is another one; too late when the answer was yes, and no matter where
    /// the target only lacks something.
    pub fn give_up(&self) {
        self.0.decide(&[Folders::Wait], State::Void);
    }
}

impl Answer {
    /// The answer.
    pub fn say(self, yes: bool) {
        self.0.decide(&[Folders::May, Folders::Wait], if yes { State::Passed } else { State::Void });
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.decide(&[Folders::May, Folders::Wait], State::Void);
    }
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
