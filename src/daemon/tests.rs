//! The whole daemon in this process, with rounds that do as a test says and a clock that is set by hand.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::control::client::Client;
use super::control::protocol::{Ask, Told};
use super::*;
use crate::calendar::add;
use crate::clock::{ManualClock, SeededRandom};
use crate::config::{ConfigErrors, Env, load};
use crate::entry::Time;
use crate::outcome::{Ending, Outcome};
use crate::report::summary::failed;

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Monday, 05:59:58 UTC.
const NOW: Time = Time { secs: 1_789_970_398, nanos: 0 };

/// What a round of a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Ends well at once.
    Done,
    /// Panics.
    Panic,
    /// Goes on until it is told to stop.
    Long,
    /// Goes on until it may end, whatever it is told.
    Stuck,
}

/// Rounds that do as they are told, and are counted.
struct Script {
    deeds: Mutex<BTreeMap<String, Deed>>,
    begun: watch::Sender<BTreeMap<String, usize>>,
    /// The config when it is read again.
    next: Mutex<Config>,
    /// Whether rounds that are stuck may end.
    freed: watch::Sender<bool>,
    /// How often something that was kept was to be dropped.
    forgotten: watch::Sender<usize>,
}

struct Scripted(Arc<Script>);

impl Works for Scripted {
    fn load(&self) -> std::result::Result<Config, ConfigErrors> {
        Ok(self.0.next.lock().unwrap().clone())
    }

    async fn round(&self, order: Order) -> Outcome {
        let job = order.task.job.name.clone();
        self.0.begun.send_modify(|begun| *begun.entry(job.clone()).or_default() += 1);
        let deed = self.0.deeds.lock().unwrap().get(&job).copied().unwrap_or(Deed::Done);
        let mut stop = order.stop;
        match deed {
            Deed::Done => {}
            Deed::Panic => panic!("as the test says"),
            Deed::Long => drop(stop.wait_for(|stop| *stop).await),
            Deed::Stuck => drop(self.0.freed.subscribe().wait_for(|freed| *freed).await),
        }
        let interrupted = Error::new(Kind::Interrupted, "go on with", "the round");
        let mut outcome = failed(job, order.task.job.mode, &interrupted, Duration::ZERO);
        if deed == Deed::Done {
            (outcome.ending, outcome.exit_code, outcome.message) = (Ending::Ok, 0, None);
        }
        outcome
    }

    fn forget(&self, _job: &str) {
        self.0.forgotten.send_modify(|times| *times += 1);
    }
}

/// A daemon that runs, and what there is to look at and to turn.
struct Running {
    script: Arc<Script>,
    clock: Arc<ManualClock>,
    stop: watch::Sender<bool>,
    folder: tempfile::TempDir,
    daemon: JoinHandle<Result<()>>,
}

impl Running {
    /// Starts one with these jobs: names, deeds, and further lines of the config.
    async fn start(jobs: &[(&str, Deed, &str)]) -> Self {
        Self::on_power(jobs, "Full").await
    }

    /// The same on a machine with a battery in this state.
    async fn on_power(jobs: &[(&str, Deed, &str)], battery: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let supply = folder.path().join("power/BAT0");
        std::fs::create_dir_all(&supply).unwrap();
        std::fs::write(supply.join("type"), "Battery\n").unwrap();
        std::fs::write(supply.join("status"), battery).unwrap();
        let line = |(name, _, more): &(&str, Deed, &str)| {
            format!("  {name}: {{mode: push, local: /l/{name}, remote: 's:/r/{name}', {more}}}\n")
        };
        let jobs_text: String = jobs.iter().map(line).collect();
        let path = folder.path().join("config.yml");
        std::fs::write(&path, format!("version: 1\nservers: {{s: {{host: h}}}}\njobs:\n{jobs_text}"))
            .unwrap();
        let env = Env { home: None, config_home: None, system_file: path.clone() };
        let config = load(Some(&path), &env).unwrap().config;
        let deeds = jobs.iter().map(|(name, deed, _)| ((*name).to_owned(), *deed)).collect();
        let script = Script {
            deeds: Mutex::new(deeds),
            begun: watch::Sender::new(BTreeMap::new()),
            next: Mutex::new(config.clone()),
            freed: watch::Sender::new(false),
            forgotten: watch::Sender::new(0),
        };
        let (script, clock) = (Arc::new(script), Arc::new(ManualClock::new(NOW)));
        let (stop, stopped) = watch::channel(false);
        let setup = Setup {
            works: Scripted(script.clone()),
            config,
            journal: Journal::in_memory().unwrap(),
            clock: clock.clone(),
            random: Arc::new(SeededRandom::new(1)),
            stop: stopped,
            signals: mpsc::channel(1).1,
            manager: Manager::of(&|_| None),
            socket: folder.path().join("control.sock"),
            places: Places { power_supply: folder.path().join("power"), bus: folder.path().join("bus") },
        };
        Self { script, clock, stop, folder, daemon: tokio::spawn(run(setup)) }
    }

    fn does(&self, job: &str, deed: Deed) {
        self.script.deeds.lock().unwrap().insert(job.into(), deed);
    }

    /// Waits until so many rounds of a job have begun.
    async fn begun(&self, job: &str, count: usize) {
        let mut begun = self.script.begun.subscribe();
        let enough = begun.wait_for(|begun| begun.get(job).is_some_and(|n| *n >= count));
        timeout(PATIENCE, enough).await.expect("a round begins in time").unwrap();
    }

    fn count(&self, job: &str) -> usize {
        self.script.begun.borrow().get(job).copied().unwrap_or(0)
    }

    async fn ask(&self, ask: Ask) -> Told {
        let socket = self.folder.path().join("control.sock");
        let connected = async {
            loop {
                match Client::connect(&socket).await.unwrap() {
                    Some(client) => return client,
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        let mut client = timeout(PATIENCE, connected).await.expect("a daemon that listens");
        client.ask(&ask).await.unwrap()
    }

    async fn doing(&self, job: &str) -> String {
        let Told::Jobs(jobs) = self.ask(Ask::Status {}).await else { panic!("no jobs") };
        jobs.into_iter().find(|live| live.job == job).unwrap().doing
    }

    /// Waits until a job is doing this.
    async fn until(&self, job: &str, doing: &str) {
        let wait = async {
            while self.doing(job).await != doing {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{job} is never {doing}"));
    }

    async fn end(self) {
        self.stop.send_replace(true);
        timeout(PATIENCE, self.daemon).await.unwrap().unwrap().unwrap();
    }

    fn pass(&self, secs: u64) {
        use crate::clock::Clock;
        self.clock.set(add(self.clock.now(), Duration::from_secs(secs)));
    }
}

const WINDOW: &str = "watch: {}, schedule: {only: \"22:00-06:00\", tz: UTC}";

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_one_job_takes_down_no_other() {
    let daemon = Running::start(&[
        ("breaks", Deed::Panic, "schedule: {every: 1h}"),
        ("goes-on", Deed::Done, "schedule: {every: 1h}"),
    ])
    .await;
    daemon.begun("breaks", 1).await;
    daemon.begun("goes-on", 1).await;
    daemon.until("breaks", "waiting-retry").await;
    for round in 2..4 {
        assert!(matches!(daemon.ask(Ask::Run { job: "goes-on".into() }).await, Told::Ended { .. }));
        assert_eq!(daemon.count("goes-on"), round);
    }
    daemon.does("breaks", Deed::Done);
    daemon.ask(Ask::Run { job: "breaks".into() }).await;
    daemon.until("breaks", "idle").await;
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_closes_stops_a_round_and_the_next_goes_on_with_it() {
    let daemon = Running::start(&[("j", Deed::Long, WINDOW)]).await;
    daemon.begun("j", 1).await;
    daemon.pass(2); // 06:00:00
    daemon.until("j", "waiting-window").await;
    daemon.does("j", Deed::Done);
    daemon.pass(8 * 3_600);
    let Told::Done(told) = daemon.ask(Ask::Now { job: "j".into() }).await else { panic!("no answer") };
    assert!(told.contains("when its window opens, 2026-09-21T22:00:00Z"), "{told}");
    daemon.pass(8 * 3_600); // 22:00:00
    daemon.begun("j", 2).await;
    daemon.until("j", "idle").await;
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_waits_for_no_round_and_rounds_of_a_changed_job_do_not_overlap() {
    let hourly = "schedule: {every: 1h}";
    let daemon = Running::start(&[("slow", Deed::Stuck, hourly), ("other", Deed::Done, hourly)]).await;
    daemon.begun("slow", 1).await;
    for trash_days in [1, 2] {
        let mut config = daemon.script.next.lock().unwrap().clone();
        let slow = config.jobs.iter_mut().find(|job| job.name == "slow").unwrap();
        slow.trash = Some(Duration::from_secs(trash_days * 86_400));
        *daemon.script.next.lock().unwrap() = config;
        let Told::Done(told) = daemon.ask(Ask::Reload {}).await else { panic!("no answer") };
        assert_eq!(told, "2 jobs in the config, 1 stayed, 1 ended, 1 began");
        assert!(matches!(daemon.ask(Ask::Run { job: "other".into() }).await, Told::Ended { .. }));
    }
    assert_eq!((daemon.doing("slow").await.as_str(), daemon.count("slow")), ("starting", 1));
    daemon.does("slow", Deed::Done);
    daemon.script.freed.send_replace(true);
    daemon.begun("slow", 2).await;
    daemon.until("slow", "idle").await;
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_sleep_a_round_begins_anew_and_one_that_failed_does_not_wait() {
    let daemon = Running::start(&[("j", Deed::Long, "schedule: {every: 24h}")]).await;
    daemon.begun("j", 1).await;
    daemon.pass(3 * 3_600);
    daemon.begun("j", 2).await;
    daemon.does("j", Deed::Panic);
    daemon.pass(3 * 3_600);
    daemon.until("j", "waiting-retry").await;
    daemon.does("j", Deed::Done);
    daemon.pass(3_600);
    daemon.until("j", "idle").await;
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_gives_way_on_battery_but_not_to_a_person_who_asks() {
    let rounds = "schedule: {every: 1h}, only_if: {on_ac: true}";
    let daemon = Running::on_power(&[("j", Deed::Done, rounds)], "Discharging").await;
    daemon.until("j", "waiting-system").await;
    assert_eq!(daemon.count("j"), 0);
    daemon.ask(Ask::Run { job: "j".into() }).await;
    assert_eq!(daemon.count("j"), 1);
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_kept_is_dropped_after_a_sleep() {
    let daemon = Running::start(&[("j", Deed::Done, "schedule: {every: 24h}")]).await;
    daemon.begun("j", 1).await;
    daemon.until("j", "idle").await;
    assert_eq!(*daemon.script.forgotten.borrow(), 0);
    daemon.pass(600);
    let mut forgotten = daemon.script.forgotten.subscribe();
    timeout(PATIENCE, forgotten.wait_for(|times| *times == 1)).await.expect("in time").unwrap();
    daemon.end().await;
}
