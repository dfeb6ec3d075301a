//! Who logs in, and to whom.

use std::fs;

use super::Check;
use crate::bench::Bench;
use crate::support::sshd::generate_key;

/// The checks.
pub const LIST: [Check; 5] = [
    Check::own("a host key that is not known is refused", unknown_key),
    Check::own("a new host key is accepted once and then known", accepted_key),
    Check::own("a host key that changed is refused", changed_key),
    Check::own("a key that the server does not know is refused", stranger),
    Check::own("nobody logs in as somebody who is not there", nobody),
];

fn known_hosts(bench: &Bench<'_>) -> std::path::PathBuf {
    bench.program.home().join(".ssh/known_hosts")
}

fn unknown_key(bench: &Bench<'_>) {
    fs::remove_file(known_hosts(bench)).unwrap();
    bench.write_near("file", "x");
    let round = bench.push(&[]);
    assert_eq!(round.code, 3, "{:#}", round.job);
    assert!(!bench.far().exists());
}

fn accepted_key(bench: &Bench<'_>) {
    fs::remove_file(known_hosts(bench)).unwrap();
    bench.write_near("file", "x");
    bench.push(&["--accept-new-host-key"]).ok();
    bench.write_near("file 2", "x");
    bench.push(&[]).ok().counts(&[("files_sent", 1)]);
}

fn changed_key(bench: &Bench<'_>) {
    let other = bench.program.home().join("other");
    generate_key(&other, "ed25519", "");
    let key = fs::read_to_string(other.with_extension("pub")).unwrap();
    let host = bench.peer.known_hosts.split(' ').next().unwrap();
    fs::write(known_hosts(bench), format!("{host} {key}")).unwrap();
    bench.write_near("file", "x");
    let round = bench.push(&["--accept-new-host-key"]);
    assert_eq!(round.code, 4, "{:#}", round.job);
    assert!(!bench.far().exists());
}

fn refused(bench: &Bench<'_>, user: &str, key: &std::path::Path) {
    bench.write_near("file", "x");
    let url = format!("sftp://{user}@127.0.0.1:{}{}", bench.peer.port, bench.remote());
    let (near, key) = (bench.near(), key.to_owned());
    let args = ["push".into(), "-i".into(), key.into_os_string(), near.into_os_string(), url.into()];
    let round = bench.program.rounds::<std::ffi::OsString>(args).remove(0);
    let message = round.job["message"].as_str().unwrap_or_default();
    assert!(round.code == 3 && message.contains("cannot log in"), "{:#}", round.job);
}

fn stranger(bench: &Bench<'_>) {
    let key = bench.program.home().join("stranger");
    generate_key(&key, "ed25519", "");
    refused(bench, &bench.peer.user, &key);
}

fn nobody(bench: &Bench<'_>) {
    refused(bench, "no-such-user", &bench.peer.client_key);
}
