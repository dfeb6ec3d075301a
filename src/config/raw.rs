//! The YAML exactly as people write it: every key there is, what it says, and nothing worked out yet.
//! All is optional here; what must be there is for `check` to say, after `defaults` were put underneath.

use std::num::NonZeroU16;
use std::time::Duration;

use super::leaf::{Cron, FarFolder, Host, LocalPath, MailAddress, SshConfig, Version, Zone};
use super::list::Argv;
use super::model::{Bandwidth, Event, Fingerprint, Missed, Tls, Via};
use super::read::{Named, OneOrMany, Spot, section};
use super::reference::{Headers, KeyText, SecretText, Url};
use crate::calendar::Span;
use crate::filter::Rule;
use crate::hash::Level;
use crate::outcome::Mode;
use crate::units::{ByteSize, Percent};

section! {
    /// The configuration of Highwater.
    RawConfig {
        /// The version of this format: 1.
        version: Version,
        /// What holds for every job that does not say otherwise.
        defaults: RawJob,
        /// More files of this format, relative to this one; `*` in the last part of the path.
        include: OneOrMany<String>,
        /// SFTP accounts by name.
        servers: Named<RawServer>,
        /// Tasks by name.
        jobs: Named<RawJob>,
        /// Whom to tell, by name.
        notify: Named<RawTarget>,
        /// The mail server for those who are told by mail.
        smtp: RawSmtp,
        /// A file that the daemon's log goes to as well.
        log: RawLog,
    }
}

section! {
    /// An SFTP account.
    RawServer {
        /// A host name, an address, or an alias of ~/.ssh/config.
        host: Host,
        /// The port, 22 if neither this nor ssh_config says otherwise.
        port: NonZeroU16,
        /// Whom to log in as.
        user: String,
        /// How to log in.
        auth: RawAuth,
        /// Fingerprints of the keys that the host may show.
        host_key: OneOrMany<Fingerprint>,
        /// How much of the line all jobs of this server may take together.
        limits: RawLimits,
        /// Whether old algorithms (SHA-1, CBC) will do too; no unless told otherwise.
        legacy: bool,
        /// The file that is read in place of ~/.ssh/config and /etc/ssh/ssh_config, or none.
        ssh_config: SshConfig,
        /// What makes the session: direct, or ssh for what only OpenSSH's own program can do.
        via: Via,
    }
}

section! {
    /// How to log in. Secrets are named, never written here.
    RawAuth {
        /// Private key files.
        key: OneOrMany<KeyText>,
        /// Certificates for keys; those that lie beside their key are found without.
        certificate: OneOrMany<LocalPath>,
        /// What unlocks them.
        passphrase: SecretText,
        /// The account's password.
        password: SecretText,
        /// Gives a one-time code when the server asks for one.
        code: SecretText,
        /// Whether ssh-agent is asked; yes unless told otherwise.
        agent: bool,
    }
}

section! {
    /// A task.
    RawJob {
        /// push: the far side follows this one. pull: this side follows the far one.
        mode: Mode,
        /// The folder on this machine.
        local: LocalPath,
        /// The folder on a server, as `server:path`.
        remote: FarFolder,
        /// When rounds start by the clock (with the daemon).
        schedule: RawSchedule,
        /// When rounds start because something changed (with the daemon).
        watch: RawWatch,
        /// What has to be so of the machine for rounds to begin and go on (with the daemon).
        only_if: RawOnlyIf,
        /// rsync's rules, the first that matches wins: `- PATTERN` leaves out, `+ PATTERN` takes.
        filter: Vec<Spot<Rule>>,
        /// Whether deletes at the source are followed.
        delete: bool,
        /// What needs a person.
        guards: RawGuards,
        /// How long the trash keeps what was deleted or displaced; 0 for no trash.
        trash: Duration,
        /// How often a push looks at the far side though nothing changed here; 0 for never.
        audit: Duration,
        /// Whether what was carried is forced to the disk before it counts as done.
        durable: bool,
        /// What is proved of each file.
        verify: Level,
        /// How much of the line a job may take.
        limits: RawLimits,
        /// How long a lost connection is tried again; 0 for not at all.
        retry_for: Duration,
        /// How old a far file must be before a pull takes it at the first look.
        settle: Duration,
        /// What is run around a round (with the daemon).
        hooks: RawHooks,
        /// Who is told (with the daemon).
        notify: OneOrMany<String>,
        /// When they are told that nothing happens (with the daemon).
        alarm: RawAlarm,
    }
}

section! {
    /// When rounds start by the clock, `cron` or `every`, and when they may run at all.
    RawSchedule {
        /// Five fields: minute, hour, day of month, month, day of week.
        cron: Cron,
        /// A time zone such as Europe/Berlin for `cron` and `only`; without it the system's own.
        tz: Zone,
        /// The time between two rounds.
        every: Duration,
        /// Each round starts up to this much later, by chance.
        jitter: Duration,
        /// What happens to a moment that passed while nobody was there.
        missed: Missed,
        /// Rounds run only at these times of the week, as "22:00-06:00" or [mon-fri 22:00-06:00, sat]; what is not
        /// done at the end of one goes on in the next.
        only: OneOrMany<Span>,
    }
}

section! {
    /// When rounds start because something changed.
    RawWatch {
        /// How long a path must be quiet.
        settle: Duration,
        /// How often everything is looked at all the same; 0 for never.
        rescan: Duration,
    }
}

section! {
    /// What has to be so of the machine. What the system does not tell keeps nothing back.
    RawOnlyIf {
        /// yes: only while it runs on mains; no: only while it runs on its battery.
        on_ac: bool,
        /// no: only while its network does not cost by what crosses it, as NetworkManager knows.
        metered: bool,
    }
}

section! {
    /// A file that the daemon's log goes to as well.
    RawLog {
        /// The file. Full ones get .1, .2 and so on after their name.
        file: LocalPath,
        /// When it is full; 10MiB unless told otherwise.
        size: ByteSize,
        /// How many full ones are kept; 5 unless told otherwise.
        keep: u64,
    }
}

section! {
    /// What needs a person.
    RawGuards {
        /// How many deletes within 24 hours are held back.
        max_delete: RawMaxDelete,
    }
}

section! {
    /// The lesser limit counts; 0 switches one off.
    RawMaxDelete {
        /// So many files.
        count: u64,
        /// Such a share of all files.
        share: Percent,
    }
}

section! {
    /// How much of the line may be taken.
    RawLimits {
        /// A rate, or rates by the time of the week: {"mon-fri 08:00-18:00": 2MiB/s, else: unlimited}.
        bandwidth: Bandwidth,
    }
}

section! {
    /// What is run around a round: lists of commands, each a list of its words.
    RawHooks {
        /// Before it; if one fails there is no round.
        before: Vec<Spot<Argv>>,
        /// After one without problems.
        after_success: Vec<Spot<Argv>>,
        /// After any other.
        after_failure: Vec<Spot<Argv>>,
        /// How long each may take; 1h unless told otherwise.
        timeout: Duration,
    }
}

section! {
    /// When people are told that nothing happens.
    RawAlarm {
        /// A job without a success for so long is late; 0 for never.
        no_success_for: Duration,
    }
}

section! {
    /// Somebody to tell, in one way.
    RawTarget {
        /// A command as a list of its words.
        command: Argv,
        /// A URL that a JSON document is posted to.
        webhook: Url,
        /// Header fields of what is posted, each a reference to a secret: {Authorization: env:TOKEN}.
        headers: Headers,
        /// Mail addresses; needs `smtp`.
        email: OneOrMany<MailAddress>,
        /// A URL that is pinged after each round, with /start before it and /fail when it did not end well.
        healthchecks: Url,
        /// Of what they are told; without it of failure, halt, held, late and recovered, healthchecks of all
        /// rounds. failure takes in halt.
        on: OneOrMany<Event>,
        /// How often the same thing is told again; 0 for once.
        repeat: Duration,
        /// How long one try may take, of which there are three; 30s unless told otherwise.
        timeout: Duration,
    }
}

section! {
    /// The mail server for those who are told by mail.
    RawSmtp {
        /// Its host name or address.
        host: Host,
        /// Its port: 587 with starttls, 465 with tls and 25 with none, unless told otherwise.
        port: NonZeroU16,
        /// How the connection is encrypted: starttls, tls from its start, or none.
        tls: Tls,
        /// Whom to log in as.
        user: String,
        /// The password for it.
        password: SecretText,
        /// The sender's address.
        from: MailAddress,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The keys of every section by the schema: what an editor offers is what the reader takes.
    #[test]
    fn the_schema_knows_the_keys_that_the_reader_knows() {
        let schema = serde_json::to_value(schemars::schema_for!(RawConfig)).unwrap();
        let mut sections: BTreeMap<&str, &serde_json::Value> = BTreeMap::new();
        sections.insert("RawConfig", &schema);
        sections.extend(schema["$defs"].as_object().unwrap().iter().map(|(name, s)| (name.as_str(), s)));
        let known = [
            ("RawConfig", RawConfig::KEYS),
            ("RawServer", RawServer::KEYS),
            ("RawAuth", RawAuth::KEYS),
            ("RawJob", RawJob::KEYS),
            ("RawSchedule", RawSchedule::KEYS),
            ("RawWatch", RawWatch::KEYS),
            ("RawGuards", RawGuards::KEYS),
            ("RawMaxDelete", RawMaxDelete::KEYS),
            ("RawLimits", RawLimits::KEYS),
            ("RawHooks", RawHooks::KEYS),
            ("RawAlarm", RawAlarm::KEYS),
            ("RawTarget", RawTarget::KEYS),
            ("RawSmtp", RawSmtp::KEYS),
            ("RawOnlyIf", RawOnlyIf::KEYS),
            ("RawLog", RawLog::KEYS),
        ];
        assert_eq!(sections.len(), known.len(), "{:?}", sections.keys());
        for (name, keys) in known {
            let section = sections[name];
            let mut offered: Vec<&str> =
                section["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            let mut taken = keys.to_vec();
            offered.sort_unstable();
            taken.sort_unstable();
            assert_eq!(offered, taken, "{name}");
            assert_eq!(section["additionalProperties"], false, "{name}");
            for key in offered {
                let described = section["properties"][key]["description"].as_str();
                assert!(described.is_some_and(|d| !d.is_empty()), "{name}.{key} has no description");
            }
        }
    }
}
