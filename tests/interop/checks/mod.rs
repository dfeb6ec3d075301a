//! The conformance list: every server gets all of it.

mod abilities;
mod carry;
mod changes;
mod guards;
mod many;
mod resume;
mod room;
mod tree;
mod trust;

use std::sync::OnceLock;

use serde_json::Value;

use crate::bench::Bench;
use crate::peers::Peer;

/// One check.
pub struct Check {
    /// What holds when it passes.
    pub name: &'static str,
    /// Whether only `--full` has it: it takes long, or much of the machine.
    pub is_large: bool,
    run: Run,
}

/// How a check runs.
enum Run {
    /// With a far folder of its own.
    Own(fn(&Bench<'_>)),
    /// Looks at what was carried once for all of these.
    Carried(fn(&carry::Carried)),
    /// Looks at what was found out once for all of these.
    Probed(fn(&Value)),
    /// One of the contract that every tree passes, by its name there.
    Contract(&'static str),
}

/// What the checks of one server share.
#[derive(Default)]
pub struct Shared {
    carried: OnceLock<Result<carry::Carried, String>>,
    probed: OnceLock<Result<Value, String>>,
}

impl Check {
    const fn own(name: &'static str, run: fn(&Bench<'_>)) -> Self {
        Self { name, is_large: false, run: Run::Own(run) }
    }

    const fn large(name: &'static str, run: fn(&Bench<'_>)) -> Self {
        Self { name, is_large: true, run: Run::Own(run) }
    }

    const fn probed(name: &'static str, run: fn(&Value)) -> Self {
        Self { name, is_large: false, run: Run::Probed(run) }
    }

    const fn carried(name: &'static str, run: fn(&carry::Carried)) -> Self {
        Self { name, is_large: false, run: Run::Carried(run) }
    }

    /// Runs it; panics with what is not as it must be.
    pub fn run(&self, peer: &Peer, shared: &Shared, full: bool) {
        match self.run {
            Run::Own(run) => run(&Bench::new(peer, full, self.name)),
            Run::Contract(name) => tree::contract(&Bench::new(peer, full, self.name), name),
            Run::Probed(run) => {
                let probed = shared.probed.get_or_init(|| {
                    let bench = Bench::new(peer, full, "probed");
                    crate::caught::caught(|| abilities::probe(&bench))
                });
                run(probed.as_ref().unwrap_or_else(|reason| panic!("nothing was found out: {reason}")));
            }
            Run::Carried(run) => {
                let carried = shared.carried.get_or_init(|| {
                    let bench = Bench::new(peer, full, "carried");
                    crate::caught::caught(|| carry::carry(&bench))
                });
                run(carried.as_ref().unwrap_or_else(|reason| panic!("nothing was carried: {reason}")));
            }
        }
    }
}

/// All of them, in the order in which they are run.
pub fn list() -> Vec<Check> {
    let mut all: Vec<Check> = Vec::new();
    all.extend(abilities::LIST);
    all.extend(trust::LIST);
    all.extend(tree::contracts());
    all.extend(carry::LIST);
    all.extend(changes::LIST);
    all.extend(guards::LIST);
    all.extend(resume::LIST);
    all.extend(many::LIST);
    all.extend(room::LIST);
    all
}
