//! A wrapper over any [`Tree`] that fails as scripted and keeps a log of what it was asked: for tests that
//! ask how often something was called, and what is left after the n-th call went wrong.

mod script;

use std::sync::Arc;

use bytes::Bytes;

pub use self::script::{Call, Effect, Fault, Gate, Script};
use super::{Beside, SourceFile, StagedFile, Traits, Tree, Whole};
use crate::entry::{Kind, Listing, Meta, Stat};
use crate::error::Result;
use crate::path::RelPath;

/// A tree that goes wrong as its [`Script`] says.
pub struct Faulty<T> {
    inner: T,
    script: Arc<Script>,
}

impl<T: Tree> Faulty<T> {
    /// Wraps a tree.
    pub fn new(inner: T, faults: Vec<Fault>) -> Self {
        Self { inner, script: Arc::new(Script::new(faults)) }
    }

    /// The faults and the log; stays of use when the tree itself has been handed over.
    pub fn script(&self) -> Arc<Script> {
        self.script.clone()
    }

    /// The tree below, which does not fail.
    pub fn inner(&self) -> &T {
        &self.inner
    }
}

impl<T: Tree> Tree for Faulty<T> {
    type Source = FaultySource<T::Source>;
    type Staged = FaultyStaged<T::Staged>;

    async fn make_root(&self) -> Result<()> {
        let verdict = self.script.enter("make_root", &RelPath::root(), 0).await?;
        verdict.leave(self.inner.make_root().await)
    }

    async fn list(&self, dir: &RelPath) -> Result<Listing> {
        let verdict = self.script.enter("list", dir, 0).await?;
        verdict.leave(self.inner.list(dir).await)
    }

    async fn stat(&self, path: &RelPath) -> Result<Option<Stat>> {
        let verdict = self.script.enter("stat", path, 0).await?;
        verdict.leave(self.inner.stat(path).await)
    }

    async fn read_link(&self, path: &RelPath) -> Result<Vec<u8>> {
        let verdict = self.script.enter("read_link", path, 0).await?;
        verdict.leave(self.inner.read_link(path).await)
    }

    async fn read_whole(&self, path: &RelPath, limit: u64) -> Result<Whole> {
        let verdict = self.script.enter("read_whole", path, limit).await?;
        let outcome = self.inner.read_whole(path, limit).await;
        let outcome = outcome.map(|whole| Whole { data: verdict.tamper(whole.data), ..whole });
        verdict.leave(outcome)
    }

    async fn open(&self, path: &RelPath) -> Result<Self::Source> {
        let verdict = self.script.enter("open", path, 0).await?;
        let inner = verdict.leave(self.inner.open(path).await)?;
        Ok(FaultySource { inner, path: path.clone(), script: self.script() })
    }

    async fn stage(&self, path: &RelPath) -> Result<Self::Staged> {
        let verdict = self.script.enter("stage", path, 0).await?;
        let inner = verdict.leave(self.inner.stage(path).await)?;
        Ok(FaultyStaged { inner, path: path.clone(), script: self.script() })
    }

    async fn reopen(&self, path: &RelPath) -> Result<Self::Staged> {
        let verdict = self.script.enter("reopen", path, 0).await?;
        let inner = verdict.leave(self.inner.reopen(path).await)?;
        Ok(FaultyStaged { inner, path: path.clone(), script: self.script() })
    }

    async fn reopen_beside(&self, path: &RelPath, others: &[&Self::Staged]) -> Result<Beside<Self::Staged>> {
        let verdict = self.script.enter("reopen_beside", path, 0).await?;
        let others: Vec<&T::Staged> = others.iter().map(|other| &other.inner).collect();
        let Beside { staged, is_proved, is_apart } =
            verdict.leave(self.inner.reopen_beside(path, &others).await)?;
        let staged = FaultyStaged { inner: staged, path: path.clone(), script: self.script() };
        Ok(Beside { staged, is_proved, is_apart })
    }

    fn note_beside(&self, works: bool) {
        self.inner.note_beside(works);
    }

    async fn place(&self, staged: &RelPath, target: &RelPath, finished: &Stat) -> Result<Stat> {
        let verdict = self.script.enter("place", target, 0).await?;
        verdict.leave(self.inner.place(staged, target, finished).await)
    }

    async fn place_onto_nothing(
        &self,
        staged: &RelPath,
        target: &RelPath,
        finished: &Stat,
        looked: bool,
    ) -> Result<Stat> {
        let verdict = self.script.enter("place", target, 0).await?;
        verdict.leave(self.inner.place_onto_nothing(staged, target, finished, looked).await)
    }

    async fn make_dir(&self, path: &RelPath, mode: u32) -> Result<()> {
        let verdict = self.script.enter("make_dir", path, 0).await?;
        verdict.leave(self.inner.make_dir(path, mode).await)
    }

    async fn make_link(&self, path: &RelPath, target: &[u8]) -> Result<()> {
        let verdict = self.script.enter("make_link", path, 0).await?;
        verdict.leave(self.inner.make_link(path, target).await)
    }

    async fn set_meta(&self, path: &RelPath, kind: Kind, meta: &Meta) -> Result<Stat> {
        let verdict = self.script.enter("set_meta", path, 0).await?;
        verdict.leave(self.inner.set_meta(path, kind, meta).await)
    }

    async fn remove_file(&self, path: &RelPath) -> Result<()> {
        let verdict = self.script.enter("remove_file", path, 0).await?;
        verdict.leave(self.inner.remove_file(path).await)
    }

    async fn remove_dir(&self, path: &RelPath) -> Result<()> {
        let verdict = self.script.enter("remove_dir", path, 0).await?;
        verdict.leave(self.inner.remove_dir(path).await)
    }

    async fn move_aside(&self, from: &RelPath, to: &RelPath) -> Result<()> {
        let verdict = self.script.enter("move_aside", from, 0).await?;
        verdict.leave(self.inner.move_aside(from, to).await)
    }

    async fn sync_dir(&self, path: &RelPath) -> Result<bool> {
        let verdict = self.script.enter("sync_dir", path, 0).await?;
        verdict.leave(self.inner.sync_dir(path).await)
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        let verdict = self.script.enter("free_bytes", &RelPath::root(), 0).await?;
        verdict.leave(self.inner.free_bytes().await)
    }

    fn traits(&self) -> Traits {
        self.inner.traits()
    }
}

/// A file open for reading on a [`Faulty`] tree.
pub struct FaultySource<S> {
    inner: S,
    path: RelPath,
    script: Arc<Script>,
}

impl<S: SourceFile> SourceFile for FaultySource<S> {
    async fn stat(&self) -> Result<Stat> {
        let verdict = self.script.enter("source.stat", &self.path, 0).await?;
        verdict.leave(self.inner.stat().await)
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes> {
        let verdict = self.script.enter("source.read_at", &self.path, len).await?;
        let data = self.inner.read_at(offset, len).await.map(|data| verdict.tamper(data));
        verdict.leave(data)
    }
}

/// A temporary file on a [`Faulty`] tree.
pub struct FaultyStaged<S> {
    inner: S,
    path: RelPath,
    script: Arc<Script>,
}

impl<S: StagedFile> StagedFile for FaultyStaged<S> {
    async fn stat(&self) -> Result<Stat> {
        let verdict = self.script.enter("staged.stat", &self.path, 0).await?;
        verdict.leave(self.inner.stat().await)
    }

    async fn write_at(&self, offset: u64, data: Bytes) -> Result<()> {
        let verdict = self.script.enter("staged.write_at", &self.path, data.len() as u64).await?;
        let data = verdict.tamper(data);
        verdict.leave(self.inner.write_at(offset, data).await)
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes> {
        let verdict = self.script.enter("staged.read_at", &self.path, len).await?;
        let data = self.inner.read_at(offset, len).await.map(|data| verdict.tamper(data));
        verdict.leave(data)
    }

    async fn close(&self) -> Result<()> {
        let verdict = self.script.enter("staged.close", &self.path, 0).await?;
        verdict.leave(self.inner.close().await)
    }

    async fn finish(&self, size: u64, meta: &Meta, durable: bool) -> Result<Stat> {
        let verdict = self.script.enter("staged.finish", &self.path, 0).await?;
        verdict.leave(self.inner.finish(size, meta, durable).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind as ErrorKind;
    use crate::tree::contract::{Limits, check_all};
    use crate::tree::memory::Memory;

    fn rel(path: &str) -> RelPath {
        RelPath::parse(path.as_bytes()).unwrap()
    }

    fn faulty(faults: Vec<Fault>) -> (Memory, Faulty<Memory>) {
        let memory = Memory::near().and(&[("a", "content", 1), ("b", "other", 1)]);
        (memory.clone(), Faulty::new(memory, faults))
    }

    fn kind<R>(outcome: Result<R>) -> Option<ErrorKind> {
        outcome.err().map(|error| error.kind())
    }

    #[tokio::test]
    async fn without_faults_the_contract_is_kept() {
        let limits = Limits { big_folder: 100, ..Limits::NEAR };
        check_all(&Faulty::new(Memory::near(), vec![]), limits).await;
    }

    #[tokio::test]
    async fn a_fault_falls_upon_the_calls_it_names_and_no_others() {
        let (_, tree) = faulty(vec![
            Fault::on("stat", Effect::Refuse(ErrorKind::Permission)).at(&rel("a")).nth(2),
            Fault::on("list", Effect::Refuse(ErrorKind::Failed)).times(2),
            Fault::on("place", Effect::Lose),
        ]);
        let mut outcomes = Vec::new();
        for path in ["a", "b", "a", "a", "b"] {
            outcomes.push(kind(tree.stat(&rel(path)).await));
        }
        assert_eq!(outcomes, [None, None, Some(ErrorKind::Permission), None, None]);
        let mut outcomes = Vec::new();
        for _ in 0..3 {
            outcomes.push(kind(tree.list(&RelPath::root()).await));
        }
        assert_eq!(outcomes, [Some(ErrorKind::Failed), Some(ErrorKind::Failed), None]);
        let script = tree.script();
        assert_eq!((script.calls("stat"), script.calls("list"), script.calls("place")), (5, 3, 0));
        assert_eq!(script.log()[1], Call { operation: "stat", path: rel("b"), bytes: 0 });
        assert_eq!(script.unused(), ["Lose on place"]);
    }

    #[tokio::test]
    async fn what_is_done_and_what_is_answered_differ_as_told() {
        let check = async |effect, expected, is_done: bool| {
            let (memory, tree) = faulty(vec![Fault::on("remove_file", effect)]);
            assert_eq!(kind(tree.remove_file(&rel("a")).await), Some(expected));
            assert_eq!(memory.content("a").is_none(), is_done, "{expected:?}");
            kind(tree.stat(&rel("b")).await)
        };
        let lost = Some(ErrorKind::Disconnected);
        assert_eq!(check(Effect::Refuse(ErrorKind::Failed), ErrorKind::Failed, false).await, None);
        assert_eq!(check(Effect::DoThenRefuse(ErrorKind::TimedOut), ErrorKind::TimedOut, true).await, None);
        assert_eq!(check(Effect::Lose, ErrorKind::Disconnected, false).await, lost);
        assert_eq!(check(Effect::DoThenLose, ErrorKind::Disconnected, true).await, lost);
    }

    #[tokio::test]
    async fn data_is_damaged_on_the_way_in_and_out() {
        let (memory, tree) = faulty(vec![
            Fault::on("source.read_at", Effect::Flip(9)).nth(1),
            Fault::on("source.read_at", Effect::Cut(3)).nth(2),
            Fault::on("staged.write_at", Effect::Flip(0)).nth(1),
            Fault::on("staged.write_at", Effect::Cut(1)).nth(2),
        ]);
        let source = tree.open(&rel("a")).await.unwrap();
        assert_eq!(source.read_at(0, 7).await.unwrap(), "cootent");
        assert_eq!(source.read_at(0, 7).await.unwrap(), "con");
        assert_eq!(source.read_at(0, 7).await.unwrap(), "content");
        assert_eq!(tree.script().bytes("source.read_at"), 21);
        let staged = tree.stage(&rel("s")).await.unwrap();
        staged.write_at(0, Bytes::from_static(b"abc")).await.unwrap();
        staged.write_at(3, Bytes::from_static(b"def")).await.unwrap();
        assert_eq!(memory.content("s").unwrap(), b"`bcd");
    }

    #[tokio::test]
    async fn somebody_else_can_act_in_between() {
        let memory = Memory::near();
        let other = memory.clone();
        let deed = Effect::First(Arc::new(move || other.put_file("f", b"theirs", 5)));
        let tree = Faulty::new(memory, vec![Fault::on("stat", deed).nth(2)]);
        assert_eq!(tree.stat(&rel("f")).await.unwrap(), None);
        assert_eq!(tree.stat(&rel("f")).await.unwrap().unwrap().size, 6);
    }

    #[tokio::test]
    async fn a_call_held_at_a_gate_goes_on_when_it_opens_or_finds_the_connection_lost() {
        for is_lost in [false, true] {
            let gate = Gate::shut();
            let (memory, tree) = faulty(vec![Fault::on("remove_file", Effect::Hold(gate.clone()))]);
            let script = tree.script();
            let held = tokio::spawn(async move { tree.remove_file(&rel("a")).await });
            gate.reached_by(1).await;
            assert!(memory.content("a").is_some());
            if is_lost {
                script.lose();
            }
            gate.open();
            assert_eq!(kind(held.await.unwrap()), is_lost.then_some(ErrorKind::Disconnected));
            assert_eq!(memory.content("a").is_some(), is_lost);
        }
    }
}
