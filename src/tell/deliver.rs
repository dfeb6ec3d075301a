//! Telling one target one thing: the way it wants, within its time, and again if that may help.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::http::{Post, with_word};
use super::mail::Mail;
use super::notice::Notice;
use super::program::Program;
use super::render;
use crate::backoff::Backoff;
use crate::clock::Random;
use crate::config::model::{Event, Link, Secret, Smtp, Target, Way};
use crate::error::{Error, Kind, Result};
use crate::secret::{Revealed, reveal};
use crate::units::human_duration;

/// How often something is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// So often. Not zero.
    pub count: u32,
    /// With these waits between.
    pub backoff: Backoff,
}

impl Tries {
    /// Three, some seconds apart: a receiver that restarts is back, and nobody hears of it much later.
    pub const THREE: Self = Self {
        count: 3,
        backoff: Backoff { first: Duration::from_secs(4), longest: Duration::from_secs(30) },
    };

    /// Only one.
    pub const ONE: Self = Self { count: 1, ..Self::THREE };
}

/// Tells, and tells again as long as that may help. Errors: of the last try.
pub async fn deliver(
    target: &Target,
    smtp: Option<&Smtp>,
    notice: &Notice,
    tries: Tries,
    random: &dyn Random,
) -> Result<()> {
    let mut attempt = 0;
    loop {
        let error = match once(target, smtp, notice).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        attempt += 1;
        if attempt >= tries.count || !may_be_better_later(error.kind()) {
            return Err(error);
        }
        tracing::debug!(target = target.name, attempt, "{error}: {}", error.reason());
        sleep(tries.backoff.delay(attempt - 1, random.unit())).await;
    }
}

fn may_be_better_later(kind: Kind) -> bool {
    matches!(kind, Kind::TimedOut | Kind::Unreachable | Kind::Disconnected | Kind::Failed)
}

async fn once(target: &Target, smtp: Option<&Smtp>, notice: &Notice) -> Result<()> {
    let limit = target.timeout;
    let work = async {
        match &target.way {
            Way::Command(words) => command(words, &target.hidden, notice, limit).await,
            Way::Webhook { url, headers } => webhook(url, headers, notice, limit).await,
            Way::Email(to) => email(to, smtp, notice, limit).await,
            Way::Healthchecks(url) => ping(url, notice, limit).await,
        }
    };
    // Each way ends by itself by then and says more; this is for what none of them bounds, such as a secret.
    let all = timeout(limit.saturating_add(LAST_STEPS), work).await;
    all.unwrap_or_else(|_| {
        let why = format!("it took longer than {}", human_duration(limit));
        Err(Error::new(Kind::TimedOut, "tell", &target.name).detail(why))
    })
}

/// What a way may need at its end, after its time is over.
const LAST_STEPS: Duration = Duration::from_secs(4);

async fn command(words: &[String], hidden: &[String], notice: &Notice, limit: Duration) -> Result<()> {
    let input = document(notice)?;
    let variables = render::variables(notice);
    Program { operation: "tell by", words, variables, hidden, input, timeout: limit }.run().await
}

async fn webhook(url: &Link, headers: &[(String, Secret)], notice: &Notice, limit: Duration) -> Result<()> {
    let (url, headers, body) = (url.clone(), headers.to_vec(), document(notice)?);
    aside(move || {
        let headers = headers.iter().map(|(name, secret)| Ok((name.clone(), reveal(secret)?)));
        let post = Post {
            operation: "post to",
            url: open(&url)?,
            shown: url.to_string(),
            content_type: "application/json",
            headers: headers.collect::<Result<_>>()?,
            body,
            timeout: limit,
        };
        post.make()
    })
    .await
}

async fn ping(url: &Link, notice: &Notice, limit: Duration) -> Result<()> {
    let (url, body) = (url.clone(), render::text(notice).into_bytes());
    let word = match notice.event {
        Event::Start => Some("start"),
        Event::Success | Event::Recovered => None,
        Event::Problems | Event::Held | Event::Failure | Event::Halt | Event::Late => Some("fail"),
    };
    aside(move || {
        let plain = open(&url)?;
        let post = Post {
            operation: "ping",
            url: word.map_or(plain.clone(), |word| Revealed::new(with_word(plain.expose(), word))),
            shown: url.to_string(),
            content_type: "text/plain; charset=utf-8",
            headers: Vec::new(),
            body,
            timeout: limit,
        };
        post.make()
    })
    .await
}

async fn email(to: &[String], smtp: Option<&Smtp>, notice: &Notice, limit: Duration) -> Result<()> {
    let missing = || Error::new(Kind::Usage, "send mail", "").detail("there is no mail server in the config");
    let smtp = smtp.ok_or_else(missing)?;
    let password = match smtp.login.clone() {
        Some((_, secret)) => Some(aside(move || reveal(&secret)).await?),
        None => None,
    };
    let (subject, text) = (format!("[highwater] {}", render::subject(notice)), render::text(notice));
    let mail = Mail { smtp, password, to, subject, text, host: &notice.host, timeout: limit };
    mail.send().await
}

fn document(notice: &Notice) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec(&render::document(notice))
        .map_err(|e| Error::new(Kind::Internal, "make the JSON document", "").because(e))?;
    text.push(b'\n');
    Ok(text)
}

fn open(link: &Link) -> Result<Revealed> {
    match link {
        Link::Url(url) => Ok(Revealed::new(url.as_str())),
        Link::Secret(secret) => reveal(secret),
    }
}

/// Does something that blocks where it keeps nobody else waiting.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let broken = |e| Error::new(Kind::Internal, "tell", "").because(e);
    tokio::task::spawn_blocking(work).await.map_err(broken)?
}
