//! What the system tells of power and network, for jobs that give way on a laptop: `only_if`.
//!
//! Power comes from `/sys/class/power_supply` (Linux, Documentation/ABI/testing/sysfs-class-power). What
//! nobody tells keeps no job back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::metered::is_metered;
use crate::config::model::OnlyIf;

/// How long an answer counts, and how often whoever waits asks again.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(20);

/// What the system tells; `None`: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Around {
    /// Whether the machine runs on mains.
    pub on_ac: Option<bool>,
    /// Whether its network costs by what crosses it.
    pub metered: Option<bool>,
}

/// Where that is looked up.
#[derive(Debug, Clone)]
pub struct Places {
    /// A folder for each source of power.
    pub power_supply: PathBuf,
    /// The socket of the system's D-Bus.
    pub bus: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        let bus = "/run/dbus/system_bus_socket".into();
        Self { power_supply: "/sys/class/power_supply".into(), bus }
    }
}

/// Asks the system, for all jobs together.
pub(super) struct Power {
    places: Places,
    last: Mutex<Option<(Instant, Around)>>,
}

impl Power {
    /// Nothing is asked yet.
    pub fn new(places: Places) -> Self {
        Self { places, last: Mutex::default() }
    }

    /// Why a job with these wishes gives way now.
    pub async fn keeps_back(&self, only_if: &OnlyIf) -> Option<&'static str> {
        if *only_if == OnlyIf::default() {
            return None;
        }
        why(only_if, self.look().await)
    }

    async fn look(&self) -> Around {
        let mut last = self.last.lock().await;
        match *last {
            Some((at, around)) if at.elapsed() < LOOK_EVERY / 2 => around,
            _ => {
                let metered = is_metered(&self.places.bus).await;
                let around = Around { on_ac: on_ac(&self.places.power_supply), metered };
                *last = Some((Instant::now(), around));
                around
            }
        }
    }
}

fn why(only_if: &OnlyIf, around: Around) -> Option<&'static str> {
    let differs = |wanted: Option<bool>, is: Option<bool>| is.filter(|is| wanted.is_some_and(|w| w != *is));
    match (differs(only_if.on_ac, around.on_ac), differs(only_if.metered, around.metered)) {
        (Some(false), _) => Some("the machine runs on its battery"),
        (Some(true), _) => Some("the machine runs on mains"),
        (None, Some(true)) => Some("the network is metered"),
        (None, Some(false)) => Some("the network is not metered"),
        (None, None) => None,
    }
}

/// Whether the machine runs on mains: a supply that is online, or no battery that is discharging. Batteries
/// of mice and the like (`scope` is `Device`) do not count.
fn on_ac(folder: &Path) -> Option<bool> {
    let supplies = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let (mut has_battery, mut discharges, mut online) = (false, false, None);
    for supply in supplies {
        let says = |name: &str| fs::read_to_string(supply.join(name)).map(|text| text.trim().to_owned());
        if says("scope").is_ok_and(|scope| scope == "Device") {
            continue;
        }
        match says("type").as_deref() {
            Ok("Battery") => {
                has_battery = true;
                discharges |= says("status").is_ok_and(|status| status == "Discharging");
            }
            // One that is plugged in suffices: laptops have several ports.
            Ok("Mains" | "USB" | "Wireless") => {
                let is = says("online").is_ok_and(|online| online != "0");
                online = Some(online == Some(true) || is);
            }
            _ => {}
        }
    }
    online.or_else(|| has_battery.then_some(!discharges))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supplies(supplies: &[&[(&str, &str)]]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (number, files) in supplies.iter().enumerate() {
            let supply = folder.path().join(number.to_string());
            fs::create_dir(&supply).unwrap();
            files.iter().for_each(|(name, text)| fs::write(supply.join(name), format!("{text}\n")).unwrap());
        }
        folder
    }

    #[test]
    fn mains_are_told_from_batteries() {
        let check = |all: &[&[(&str, &str)]], expected| {
            assert_eq!(on_ac(supplies(all).path()), expected, "{all:?}");
        };
        let mains = |online| [("type", "Mains"), ("online", online)];
        let battery = |status| [("type", "Battery"), ("status", status)];
        check(&[], None);
        check(&[&mains("1")], Some(true));
        check(&[&mains("0"), &battery("Discharging")], Some(false));
        check(&[&mains("0"), &[("type", "USB"), ("online", "1")], &battery("Charging")], Some(true));
        check(&[&[("type", "USB"), ("online", "1")], &mains("0")], Some(true));
        check(&[&battery("Discharging")], Some(false));
        check(&[&battery("Full")], Some(true));
        check(&[&[("type", "Battery"), ("status", "Discharging"), ("scope", "Device")]], None);
        assert_eq!(on_ac(Path::new("/nowhere")), None);
    }

    #[test]
    fn a_job_gives_way_to_what_is_told_and_to_nothing_else() {
        let check = |on_ac, metered, around: (Option<bool>, Option<bool>), expected: Option<&str>| {
            let around = Around { on_ac: around.0, metered: around.1 };
            assert_eq!(why(&OnlyIf { on_ac, metered }, around), expected, "{around:?}");
        };
        check(Some(true), None, (Some(false), Some(true)), Some("the machine runs on its battery"));
        check(Some(true), None, (Some(true), Some(true)), None);
        check(Some(true), None, (None, None), None);
        check(Some(false), None, (Some(true), None), Some("the machine runs on mains"));
        check(None, Some(false), (Some(false), Some(true)), Some("the network is metered"));
        check(None, Some(false), (Some(false), Some(false)), None);
        check(None, Some(false), (Some(false), None), None);
        check(Some(true), Some(false), (Some(true), Some(true)), Some("the network is metered"));
        check(None, None, (Some(false), Some(true)), None);
    }
}
