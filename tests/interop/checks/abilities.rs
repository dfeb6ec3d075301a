//! What `highwater server probe` finds out.

use std::fs;

use serde_json::Value;

use super::Check;
use crate::bench::Bench;

/// The checks.
pub const LIST: [Check; 10] = [
    Check::probed("probe: leaves nothing behind, and nothing is amiss", clean),
    Check::probed("probe: rename over a file", |found| can(found, "posix_rename")),
    Check::probed("probe: times are kept", |found| can(found, "keeps_mtime")),
    Check::probed("probe: fsync of files", |found| can(found, "fsync")),
    Check::probed("probe: fsync of folders", |found| can(found, "fsync_dir")),
    Check::probed("probe: free space", |found| can(found, "statvfs")),
    Check::probed("probe: writes in any order", |found| can(found, "write_at")),
    Check::probed("probe: two handles on one file", |found| can(found, "two_handles")),
    Check::probed("probe: requests are kept in order", |found| can(found, "keeps_order")),
    Check::probed("probe: symbolic links", links),
];

/// Finds it out, and whether something is left behind.
pub fn probe(bench: &Bench<'_>) -> Value {
    fs::create_dir(bench.far()).unwrap();
    bench.give(&bench.far());
    let (port, host) = (bench.peer.port.to_string(), format!("{}@127.0.0.1", bench.peer.user));
    let key = bench.peer.client_key.display().to_string();
    let remote = bench.remote();
    let ran =
        bench.program.run(["server", "probe", "--json", "--write", "-p", &port, "-i", &key, &host, &remote]);
    let mut found: Value = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|e| panic!("no document ({e}): {}{}", ran.stdout, ran.stderr));
    found["left behind"] = fs::read_dir(bench.far()).unwrap().count().into();
    found
}

fn clean(found: &Value) {
    assert_eq!(found["problems"].as_array().map(Vec::len), Some(0), "{found:#}");
    assert_eq!(found["wrote"], true, "{found:#}");
    assert_eq!(found["left behind"], 0, "{found:#}");
}

fn can(found: &Value, key: &str) {
    assert_eq!(found["abilities"][key]["value"], "yes");
}

fn links(found: &Value) {
    let order = found["abilities"]["link_order"]["value"].as_str().unwrap_or_default();
    assert!(["openssh", "draft"].contains(&order), "links: {order}");
}
