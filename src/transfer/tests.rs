//! The engine over trees in memory, while the target still waits for its name.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::*;
use crate::clock::{ManualClock, SeededRandom};
use crate::entry::{Kind as EntryKind, Stat, Time};
use crate::hash::Level;
use crate::id::{JobId, RoundId};
use crate::journal::Journal;
use crate::monitor::Silent;
use crate::outcome::Mode;
use crate::plan::{Expect, Rules, Seen, Why};
use crate::tree::memory::{FAR, Memory};
use crate::tree::{Blind, StagedFile, Traits, own};

/// A push that was begun while its root is being named.
struct Scene {
    source: Memory,
    target: Memory,
    journal: Journal,
    job: JobId,
    engine: Engine<Memory, Memory>,
    tally: Arc<Tally>,
    named: oneshot::Sender<Result<bool>>,
}

fn rel(path: &str) -> RelPath {
    RelPath::parse(path.as_bytes()).unwrap()
}

/// Puts a file in place, as somebody else would.
async fn put(tree: &Memory, path: &str, content: &'static [u8]) {
    let by_hand = rel("by-hand");
    let file = tree.stage(&by_hand).await.unwrap();
    file.write_at(0, content.into()).await.unwrap();
    let meta = Meta { mode: 0o644, mtime: Time::from_secs(50) };
    let finished = file.finish(content.len() as u64, &meta, false).await.unwrap();
    tree.place(&by_hand, &rel(path), &finished).await.unwrap();
}

async fn content(tree: &Memory, path: &RelPath) -> Vec<u8> {
    tree.read_whole(path, 1000).await.unwrap().data.to_vec()
}

async fn scene() -> Scene {
    scene_at(Blind::Everywhere).await
}

/// The target goes blindly there.
async fn scene_at(blind: Blind) -> Scene {
    let journal = Journal::in_memory().unwrap();
    let job = journal.job("j").await.unwrap();
    let round = journal.begin_round(job, Time::from_secs(100)).await.unwrap();
    let (source, target) = (Memory::near(), Memory::with(Traits { blind, ..FAR }));
    let agent = Token::parse(&"a".repeat(32)).unwrap();
    let tally = Arc::new(Tally::new(Arc::new(Silent), true));
    let parts = Parts {
        source: Arc::new(source.clone()),
        target: Arc::new(target.clone()),
        record: Record::new(journal.clone(), job, round, Mode::Push),
        tally: tally.clone(),
        random: Arc::new(SeededRandom::new(1)),
        clock: Arc::new(ManualClock::new(Time::from_secs(100))),
    };
    let (_, stop) = watch::channel(false);
    let options = Options {
        sampling: verify::Sampling::new(Level::Ack, 1),
        durable: false,
        settle: Duration::ZERO,
        agent,
        trash: Some("round".into()),
        rate: Limit::new(None),
        line: None,
        breadth: None,
        rules: Rules::without_deletes(),
        stop,
    };
    let mut engine = Engine::prepare(parts, options, Ok(None)).await.unwrap();
    let (named, answer) = oneshot::channel();
    engine.check_beside(Folders::May, async move { answer.await.unwrap() });
    Scene { source, target, journal, job, engine, tally, named }
}

impl Scene {
    /// Begins to carry what the scan took for this file, and goes on until everything waits for the name.
    async fn begin(&mut self, path: &str, source: Stat) {
        let (expect, why) = (Expect::Absent, Why::New);
        self.submit(source, Action::Put { path: rel(path), source, expect, known: None, why }).await;
    }

    /// The same with any action.
    async fn submit(&mut self, source: Stat, action: Action) {
        let path = action.path().clone();
        let sight = Sight { path, base: None, source: Seen::Here(source), target: Seen::Absent };
        self.engine.submit(&sight, action).await.unwrap();
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    }

    async fn end(mut self) -> (Memory, Arc<Tally>) {
        self.named.send(Ok(true)).unwrap();
        self.engine.drain().await.unwrap();
        self.journal.flush().await.unwrap();
        (self.target, self.tally)
    }
}

#[tokio::test]
async fn what_came_while_the_root_was_named_is_not_replaced_unseen() {
    for blind in [Blind::Everywhere, Blind::NewFolders, Blind::Nowhere] {
        what_came_is_not_replaced(scene_at(blind).await).await;
    }
}

async fn what_came_is_not_replaced(mut scene: Scene) {
    put(&scene.source, "f", b"ours").await;
    let source = scene.source.stat(&rel("f")).await.unwrap().unwrap();
    scene.begin("f", source).await;
    let staged = scene.target.list(&own::stage(&Token::parse(&"a".repeat(32)).unwrap())).await.unwrap();
    assert_eq!(staged.entries.len(), 1, "it waits to be placed");
    put(&scene.target, "f", b"somebody else's").await;
    let (target, tally) = scene.end().await;
    assert_eq!(content(&target, &rel("f")).await, b"ours");
    let kept = own::trash_of("round").join_path(&rel("f"));
    assert_eq!(content(&target, &kept).await, b"somebody else's");
    assert_eq!(tally.counts().displaced, 1);
}

#[tokio::test]
async fn what_was_changed_right_before_it_was_removed_for_good_is_put_back() {
    let scene = scene().await;
    let shared = &scene.engine.shared;
    put(&scene.target, "f", b"as base knows it").await;
    let old = scene.target.stat(&rel("f")).await.unwrap().unwrap();
    put(&scene.target, "f", b"changed since").await;
    assert!(!shared.do_away(&rel("f"), &old).await.unwrap());
    assert_eq!(content(&scene.target, &rel("f")).await, b"changed since");
    let now = scene.target.stat(&rel("f")).await.unwrap().unwrap();
    assert!(shared.do_away(&rel("f"), &now).await.unwrap());
    assert_eq!(scene.target.stat(&rel("f")).await.unwrap(), None);
}

#[tokio::test]
async fn an_old_row_does_not_pass_for_that_of_a_folder_made_again() {
    let mut scene = scene().await;
    scene.source.make_dir(&rel("d"), 0o755).await.unwrap();
    let source = scene.source.stat(&rel("d")).await.unwrap().unwrap();
    let record = Record::new(scene.journal.clone(), scene.job, RoundId(1), Mode::Push);
    record.folder(&rel("d"), source, source, false).await.unwrap();
    scene.journal.flush().await.unwrap();
    let (path, expect, why) = (rel("d"), Expect::Absent, Why::Missing);
    scene.submit(source, Action::MakeDir { path, source, expect, why }).await;
    let made = async {
        while scene.target.stat(&rel("d")).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), made).await.expect("it is made");
    assert_eq!(
        scene.journal.base_get(scene.job, &rel("d")).await.unwrap(),
        None,
        "and nobody wrote that down"
    );
}

#[tokio::test]
async fn a_folder_is_not_recorded_before_its_root_has_a_name() {
    let mut scene = scene().await;
    scene.source.make_dir(&rel("d"), 0o755).await.unwrap();
    let folder = scene.source.stat(&rel("d")).await.unwrap().unwrap();
    scene.begin("d", Stat { kind: EntryKind::File, size: 3, ..folder }).await; // it was a file when it was seen
    assert!(scene.target.stat(&rel("d")).await.unwrap().is_some(), "it may be made");
    assert_eq!(scene.journal.base_get(scene.job, &rel("d")).await.unwrap(), None);
    let (journal, job) = (scene.journal.clone(), scene.job);
    scene.end().await;
    assert!(journal.base_get(job, &rel("d")).await.unwrap().is_some());
}
