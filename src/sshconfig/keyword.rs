//! The keywords of ssh_config(5), OpenSSH 9.x: which of them we act upon, and what it means that we do not
//! act upon the others.

/// What a keyword is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    /// Begins a block.
    Host,
    /// Begins a block.
    Match,
    /// Names more files.
    Include,
    /// Names keywords that may be unknown.
    IgnoreUnknown,
    /// Is acted upon.
    Set(Setting),
    /// Means nothing for an SFTP session, or only how `ssh` itself works.
    Idle,
    /// Would change who is let in or what is trusted, and does not here.
    Unheeded {
        /// Values at which nothing is missed.
        harmless: &'static [&'static str],
        /// What is missed otherwise.
        means: &'static str,
    },
    /// Would make what is trusted less, so that going on without it is not safe; only `none` is fine.
    Refused(&'static str),
}

/// What is acted upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    AddressFamily,
    BindAddress,
    CertificateFile,
    Ciphers,
    ConnectTimeout,
    GlobalKnownHostsFile,
    HostKeyAlgorithms,
    HostKeyAlias,
    HostName,
    IdentitiesOnly,
    IdentityAgent,
    IdentityFile,
    KexAlgorithms,
    Macs,
    Port,
    ProxyCommand,
    ProxyJump,
    PubkeyAcceptedAlgorithms,
    ServerAliveCountMax,
    ServerAliveInterval,
    StrictHostKeyChecking,
    Tag,
    User,
    UserKnownHostsFile,
}

/// What the keyword is, in lower case; `None`: OpenSSH knows none of this name.
pub(super) fn find(name: &str) -> Option<Keyword> {
    if let Some(setting) = setting(name) {
        return Some(Keyword::Set(setting));
    }
    Some(match name {
        "host" => Keyword::Host,
        "match" => Keyword::Match,
        "include" => Keyword::Include,
        "ignoreunknown" => Keyword::IgnoreUnknown,
        "refuseconnection" => Keyword::Refused("this connection shall not be made"),
        "revokedhostkeys" => {
            Keyword::Refused("such lists are not read; mark the keys as @revoked in known_hosts")
        }
        _ if IDLE.contains(&name) => Keyword::Idle,
        _ => {
            let (_, harmless, means) = UNHEEDED.iter().find(|(unheeded, ..)| *unheeded == name)?;
            Keyword::Unheeded { harmless, means }
        }
    })
}

fn setting(name: &str) -> Option<Setting> {
    Some(match name {
        "addressfamily" => Setting::AddressFamily,
        "bindaddress" => Setting::BindAddress,
        "certificatefile" => Setting::CertificateFile,
        "ciphers" => Setting::Ciphers,
        "connecttimeout" => Setting::ConnectTimeout,
        "globalknownhostsfile" => Setting::GlobalKnownHostsFile,
        "hostkeyalgorithms" => Setting::HostKeyAlgorithms,
        "hostkeyalias" => Setting::HostKeyAlias,
        "hostname" => Setting::HostName,
        "identitiesonly" => Setting::IdentitiesOnly,
        "identityagent" => Setting::IdentityAgent,
        "identityfile" | "identityfile2" => Setting::IdentityFile,
        "kexalgorithms" => Setting::KexAlgorithms,
        "macs" => Setting::Macs,
        "port" => Setting::Port,
        "proxycommand" => Setting::ProxyCommand,
        "proxyjump" => Setting::ProxyJump,
        "pubkeyacceptedalgorithms" | "pubkeyacceptedkeytypes" => Setting::PubkeyAcceptedAlgorithms,
        "serveralivecountmax" => Setting::ServerAliveCountMax,
        "serveraliveinterval" => Setting::ServerAliveInterval,
        "stricthostkeychecking" => Setting::StrictHostKeyChecking,
        "tag" => Setting::Tag,
        "user" => Setting::User,
        "userknownhostsfile" => Setting::UserKnownHostsFile,
        _ => return None,
    })
}

type Unheeded = (&'static str, &'static [&'static str], &'static str);

const NO: &[&str] = &["no", "false", "none"];
const YES: &[&str] = &["yes", "true"];

const UNHEEDED: &[Unheeded] = &[
    ("bindinterface", &["none"], "the connection goes out by whatever interface the system chooses"),
    ("canonicaldomains", &["none"], "the name of the host is not completed"),
    ("canonicalizehostname", NO, "the name of the host is not completed"),
    ("canonicalizepermittedcnames", &["none"], "the name of the host is not followed"),
    ("casignaturealgorithms", &[], "authorities may sign by any algorithm that we have"),
    ("challengeresponseauthentication", YES, "questions of the server are answered all the same"),
    ("compression", NO, "nothing is compressed"),
    ("gssapiauthentication", NO, "no login by Kerberos is tried; via: ssh does that"),
    ("hostbasedauthentication", NO, "no login by this machine's host key is tried; via: ssh does that"),
    ("kbdinteractiveauthentication", YES, "questions of the server are answered all the same"),
    ("knownhostscommand", &["none"], "host keys that the command would print are not known"),
    ("nohostauthenticationforlocalhost", NO, "the host key is checked all the same"),
    ("passwordauthentication", YES, "a password is tried all the same, if there is one"),
    ("pkcs11provider", &["none"], "no keys of hardware are used; via: ssh does that, or ssh-agent"),
    ("preferredauthentications", &[], "keys are tried first, then passwords"),
    ("proxyusefdpass", NO, "the connection is taken from what the command reads and writes"),
    ("pubkeyauthentication", &["yes", "true", "unbound", "host-bound"], "keys are tried all the same"),
    ("rekeylimit", &["default"], "keys are exchanged anew after 1 GiB or an hour"),
    ("requiredrsasize", &["1024", "2048"], "RSA keys that are shorter are taken all the same"),
    ("securitykeyprovider", &["internal"], "no keys of hardware are used; via: ssh does that, or ssh-agent"),
    ("smartcarddevice", &["none"], "no keys of hardware are used; via: ssh does that, or ssh-agent"),
    ("verifyhostkeydns", NO, "fingerprints in the DNS are not asked for"),
];

/// Forwarding, terminals, logs, sharing of connections; and what OpenSSH itself passes over.
const IDLE: &[&str] = &[
    "addkeystoagent",
    "afstokenpassing",
    "batchmode",
    "canonicalizefallbacklocal",
    "canonicalizemaxdots",
    "channeltimeout",
    "checkhostip",
    "cipher",
    "clearallforwardings",
    "compressionlevel",
    "connectionattempts",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "dsaauthentication",
    "dynamicforward",
    "enableescapecommandline",
    "enablesshkeysign",
    "escapechar",
    "exitonforwardfailure",
    "fallbacktorsh",
    "fingerprinthash",
    "forkafterauthentication",
    "forwardagent",
    "forwardx11",
    "forwardx11timeout",
    "forwardx11trusted",
    "gatewayports",
    "globalknownhostsfile2",
    "gssapiclientidentity",
    "gssapidelegatecredentials",
    "gssapikexalgorithms",
    "gssapikeyexchange",
    "gssapirenewalforcesrekey",
    "gssapiserveridentity",
    "gssapitrustdns",
    "hashknownhosts",
    "hostbasedacceptedalgorithms",
    "hostbasedkeytypes",
    "ipqos",
    "kbdinteractivedevices",
    "keepalive",
    "kerberosauthentication",
    "kerberostgtpassing",
    "localcommand",
    "localforward",
    "loglevel",
    "logverbose",
    "numberofpasswordprompts",
    "obscurekeystroketiming",
    "permitlocalcommand",
    "permitremoteopen",
    "protocol",
    "remotecommand",
    "remoteforward",
    "requesttty",
    "rhostsauthentication",
    "rhostsrsaauthentication",
    "rsaauthentication",
    "sendenv",
    "sessiontype",
    "setenv",
    "skeyauthentication",
    "stdinnull",
    "streamlocalbindmask",
    "streamlocalbindunlink",
    "syslogfacility",
    "tcpkeepalive",
    "tisauthentication",
    "tunnel",
    "tunneldevice",
    "updatehostkeys",
    "useprivilegedport",
    "userknownhostsfile2",
    "useroaming",
    "usersh",
    "versionaddendum",
    "visualhostkey",
    "warnweakcrypto",
    "xauthlocation",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_keyword_is_one_thing() {
        let mut all: Vec<&str> =
            IDLE.iter().copied().chain(UNHEEDED.iter().map(|(name, ..)| *name)).collect();
        assert!(all.iter().all(|name| setting(name).is_none() && find(name).is_some()));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert_eq!(find("nonsense"), None);
    }
}
