//! Whether those who are to be told can be.

use std::net::IpAddr;

use super::{Check, many, silently, value};
use crate::config::model::{Link, Smtp, Target, Tls, Way};
use crate::config::node::{Key, Node};
use crate::config::raw::{RawSmtp, RawTarget};
use crate::config::read::Spot;
use crate::config::reference::{Headers, Url};

const KINDS: [&str; 4] = ["command", "webhook", "email", "healthchecks"];

impl Check<'_> {
    /// The mail server.
    pub(super) fn smtp(&mut self, key: &Key, node: &Node) -> Option<Smtp> {
        let needed = [("host", "mail.example.org"), ("from", "highwater@example.org")];
        self.missing(key, "smtp", node, &needed);
        let raw: RawSmtp = silently(node, "smtp")?;
        let says = |key: &str| node.get(key).is_some();
        if says("user") != says("password") {
            let message = "a login needs both \"user\" and \"password\"";
            self.mistakes.add(key.at, "smtp", message, None);
        }
        let tls = value(raw.tls)?;
        let host = value(raw.host).map(|host| host.0);
        if let Some(password) = &raw.password
            && tls == Tls::None
            && host.as_deref().is_some_and(|host| !is_this_machine(host))
        {
            let message = "a password is not sent over a connection that is not encrypted";
            let hint = "write \"tls: starttls\" or \"tls: tls\"";
            self.mistakes.add(password.at, &password.key, message, Some(hint.into()));
        }
        let password = raw.password.and_then(|spot| self.secret(&spot, &spot.value.0));
        Some(Smtp {
            host: host?,
            port: value(raw.port).map_or(tls.port(), Into::into),
            tls,
            login: value(raw.user).zip(password),
            from: value(raw.from)?.0,
        })
    }

    /// Somebody to tell.
    pub(super) fn target(&mut self, key: &Key, node: &Node, has_mail_server: bool) -> Option<Target> {
        let path = format!("notify.{}", key.text);
        let raw: RawTarget = silently(node, &path)?;
        if KINDS.iter().filter(|kind| node.get(kind).is_some()).count() != 1 {
            let message = "this needs one of command, webhook, email and healthchecks";
            self.mistakes.add(key.at, &path, message, None);
            return None;
        }
        if node.get("email").is_some() && !has_mail_server {
            let hint =
                "write \"smtp: {host: mail.example.org, from: highwater@example.org}\" beside \"notify\"";
            self.mistakes.add(key.at, &path, "mail needs a mail server", Some(hint.into()));
        }
        if let Some(headers) = raw.headers.as_ref().filter(|_| node.get("webhook").is_none()) {
            self.mistakes.add(headers.at, &headers.key, "header fields go with \"webhook\"", None);
        }
        if let Some(timeout) = raw.timeout.as_ref() {
            self.not_zero(timeout);
        }
        let headers = raw.headers.map(|spot| self.headers(spot.value)).unwrap_or_default();
        let ways = [
            raw.command.map(|spot| Way::Command(spot.value.0)),
            raw.webhook.and_then(|spot| self.link(&spot)).map(|url| Way::Webhook { url, headers }),
            raw.email.map(|spot| Way::Email(spot.value.0.into_iter().map(|one| one.value.0).collect())),
            raw.healthchecks.and_then(|spot| self.link(&spot)).map(Way::Healthchecks),
        ];
        Some(Target {
            name: key.text.clone(),
            way: ways.into_iter().flatten().next()?,
            on: many(raw.on),
            repeat: value(raw.repeat).filter(|d| !d.is_zero()),
            timeout: value(raw.timeout)?,
            hidden: Vec::new(), // once all secrets are known
        })
    }

    fn headers(&mut self, headers: Headers) -> Vec<(String, crate::config::model::Secret)> {
        let secret = |(name, spot): (String, Spot<_>)| Some((name, self.reference(&spot)?));
        headers.0.into_iter().filter_map(secret).collect()
    }

    fn reference(
        &mut self,
        spot: &Spot<crate::config::reference::SecretText>,
    ) -> Option<crate::config::model::Secret> {
        self.secret(spot, &spot.value.0)
    }

    fn link(&mut self, spot: &Spot<Url>) -> Option<Link> {
        let text = &spot.value.0;
        if text.starts_with("https://") || text.starts_with("http://") {
            return Some(Link::Url(text.clone()));
        }
        self.secret(spot, text).map(Link::Secret)
    }

    /// A time that something may take.
    pub(super) fn not_zero(&mut self, spot: &Spot<std::time::Duration>) {
        if spot.value.is_zero() {
            self.mistakes.add(spot.at, &spot.key, "no time at all is not enough", None);
        }
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}
