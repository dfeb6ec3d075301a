//! One login to the simulated server: requests go out, are worked off, answers come back. After a cut, what is
//! under way is worked off late or never, and nobody hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater::error::{Kind, Result};
use highwater::tree::memory::Memory;
use tokio::sync::{Mutex, Notify, oneshot};
use tokio::time::sleep;

use crate::world::{Call, Fate, World};

/// Requests that share a lane are worked off in their order.
pub type Lane = Arc<Mutex<()>>;

pub struct Session {
    world: Arc<World>,
    is_cut: AtomicBool,
    /// The server itself is gone: nothing more is worked off.
    is_dead: AtomicBool,
    cut: Notify,
    lane: Lane,
}

impl Session {
    pub fn open(world: Arc<World>) -> Arc<Self> {
        let (is_cut, is_dead) = (false.into(), false.into());
        Arc::new(Self { world, is_cut, is_dead, cut: Notify::new(), lane: Lane::default() })
    }

    /// The lane of requests that concern no open file, and of all where the server keeps order.
    pub fn lane(&self, of_file: Option<&Lane>) -> Option<Lane> {
        match of_file {
            _ if self.world.settings.is_in_order => Some(self.lane.clone()),
            of_file => of_file.cloned(),
        }
    }

    pub fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    /// The connection is lost.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
        self.cut.notify_waiters();
    }

    /// The server is gone with all that it had to do.
    pub fn kill(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
        self.cut();
    }

    /// Sends a request that is for this tree, and waits for its answer.
    pub async fn ask<R: Send + 'static>(
        self: &Arc<Self>,
        memory: Memory,
        call: Call,
        lane: Option<Lane>,
        deed: impl FnOnce(&Memory) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let lost = self.cut.notified(); // from now on nothing is missed
        if self.is_cut() {
            return Err(call.error(Kind::Disconnected));
        }
        let (reply, answer) = oneshot::channel();
        let session = self.clone();
        let request = call.clone();
        tokio::spawn(async move { session.work(memory, request, lane, deed, reply).await });
        let times_out = self.world.lock().weather.times_out;
        let kind = if times_out { Kind::TimedOut } else { Kind::Disconnected };
        tokio::select! {
            biased;
            answer = answer => answer.unwrap_or_else(|_| Err(call.error(kind))),
            () = lost => Err(call.error(kind)),
        }
    }

    async fn work<R>(
        &self,
        memory: Memory,
        call: Call,
        lane: Option<Lane>,
        deed: impl FnOnce(&Memory) -> Result<R>,
        reply: oneshot::Sender<Result<R>>,
    ) {
        let turn = match &lane {
            Some(lane) => Some(lane.lock().await),
            None => None,
        };
        sleep(Duration::from_millis(self.world.way_millis())).await;
        if self.is_cut() {
            if self.is_worked_off_late(&call).await {
                self.world.perform_late(&memory, &call, deed);
            }
            return;
        }
        let fate = self.world.perform(&memory, &call, deed);
        drop(turn);
        match fate {
            Fate::Answer(result) => {
                sleep(Duration::from_millis(self.world.way_millis())).await;
                if !self.is_cut() {
                    let _ = reply.send(result); // whoever asked may have stopped waiting
                }
            }
            Fate::Cut => self.cut(),
            Fate::Crash => std::future::pending().await, // until the trees are asked by another program
        }
    }

    /// What came over the line before the cut is still worked off, at any later time.
    async fn is_worked_off_late(&self, call: &Call) -> bool {
        let (is_there, late) = {
            let mut state = self.world.lock();
            (state.random.chance(60), *state.random.pick(&[0, 50, 1_000, 8_000, 40_000]))
        };
        if !is_there {
            return false;
        }
        sleep(Duration::from_millis(late)).await;
        let is_alive = !self.is_dead.load(Ordering::Relaxed);
        if is_alive && call.changes() {
            self.world.count("late requests");
        }
        is_alive
    }
}
