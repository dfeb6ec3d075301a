//! `highwater notify test`: tells somebody of something made up, and says whether that worked.

use serde::Serialize;

use super::args::NotifyTest;
use super::{Context, config};
use crate::clock::{Clock, SystemClock, SystemRandom};
use crate::config::model::{Config, Event, Target, Way};
use crate::error::{Error, Kind, Result};
use crate::path::escape;
use crate::tell::{Notice, Tries, deliver};

/// Tells them, whatever they want to be told of. Tried once, so that what is wrong shows at once.
pub async fn run(context: &Context, args: &NotifyTest) -> Result<u8> {
    let config = match config::load(context) {
        Ok(loaded) => loaded.config,
        Err(errors) => {
            context.show.mistakes(&errors);
            return Ok(Kind::Usage.exit_code());
        }
    };
    let target = find(&config, &args.target)?;
    let event = args.event.unwrap_or_else(|| usual(&target.way));
    let notice = Notice::test(event, SystemClock.now());
    let told = deliver(target, config.smtp.as_ref(), &notice, Tries::ONE, &SystemRandom);
    context.unless_stopped(told).await?;
    let (name, by, event) = (target.name.as_str(), target.way.as_str(), event.as_str());
    let document = Told { version: 1, target: name, by, event };
    context.show.either(&document, || format!("told {name} by {by}: {event}"))?;
    Ok(0)
}

/// What is told by a test: the thing that matters most; but what is pinged would raise an alarm.
fn usual(way: &Way) -> Event {
    match way {
        Way::Healthchecks(_) => Event::Success,
        _ => Event::Failure,
    }
}

#[derive(Serialize)]
struct Told<'a> {
    version: u32,
    target: &'a str,
    by: &'static str,
    event: &'static str,
}

fn find<'a>(config: &'a Config, name: &str) -> Result<&'a Target> {
    config.target(name).ok_or_else(|| {
        let known: Vec<&str> = config.notify.iter().map(|target| target.name.as_str()).collect();
        let error =
            Error::new(Kind::Usage, "find the notify target", format!("\"{}\"", escape(name.as_bytes())));
        match known.is_empty() {
            true => error.detail("the config has none"),
            false => error.detail(format!("the config has: {}", known.join(", "))),
        }
    })
}
