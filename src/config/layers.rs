//! What is in force: what is built in, `defaults` over it, and over that what a job says itself. Every piece
//! keeps its place, so that it can be told where a value comes from.

use super::node::{Key, Node, Source, Value, parse};

/// What holds for a job when nobody says otherwise. `schedule`, `watch` and `hooks` only fill up what a job begins.
const JOB: &str = "
schedule: {jitter: 0, missed: run}
watch: {settle: 2s, rescan: 1h}
filter: []
delete: no
guards: {max_delete: {count: 1000, share: 10%}}
trash: 30d
audit: 24h
durable: yes
verify: full
limits: {bandwidth: unlimited}
retry_for: 10m
settle: 2s
notify: []
hooks: {timeout: 1h}
";

const ONLY_IF_BEGUN: [&str; 3] = ["schedule", "watch", "hooks"];

const SERVER: &str = "
auth: {agent: yes}
";

const TARGET: &str = "
timeout: 30s
";

const SMTP: &str = "
tls: starttls
";

const LOG: &str = "
size: 10MiB
keep: 5
";

/// A job with `defaults` and what is built in under it.
pub(super) fn job(defaults: Option<&Node>, own: &Node) -> Node {
    let said = defaults.map_or_else(|| strip(own), |defaults| over(&strip(defaults), own));
    let mut job = over(&built_in(JOB), &said);
    if let Value::Map(entries) = &mut job.value {
        entries
            .retain(|(key, _)| !ONLY_IF_BEGUN.contains(&key.text.as_str()) || said.get(&key.text).is_some());
    }
    job
}

/// A server with what is built in under it.
pub(super) fn server(own: &Node) -> Node {
    over(&built_in(SERVER), &strip(own))
}

/// Somebody to tell with what is built in under it.
pub(super) fn target(own: &Node) -> Node {
    over(&built_in(TARGET), &strip(own))
}

/// The mail server with what is built in under it.
pub(super) fn smtp(own: &Node) -> Node {
    over(&built_in(SMTP), &strip(own))
}

/// The log file with what is built in under it.
pub(super) fn log(own: &Node) -> Node {
    over(&built_in(LOG), &strip(own))
}

#[expect(clippy::expect_used, reason = "made of constants")]
fn built_in(text: &str) -> Node {
    parse(text, Source::BuiltIn).expect("what is built in can be read")
}

/// `upper` laid over `lower`: maps key by key, all else replaced. `null` takes away what lies under it.
fn over(lower: &Node, upper: &Node) -> Node {
    let (Value::Map(below), Value::Map(above)) = (&lower.value, &upper.value) else {
        return strip(upper);
    };
    let mut entries: Vec<(Key, Node)> = Vec::new();
    for (key, node) in below {
        match find(above, &key.text) {
            None if displaced(&key.text, below, above) => {}
            None => entries.push((key.clone(), node.clone())),
            Some((_, Node { value: Value::Null, .. })) => {}
            Some((key, upper)) => {
                entries.push((key.clone(), if is_whole(key) { strip(upper) } else { over(node, upper) }))
            }
        }
    }
    for (key, node) in above {
        let is_first = find(above, &key.text).is_some_and(|(first, _)| first.at == key.at);
        if is_first && node.value != Value::Null && find(below, &key.text).is_none() {
            entries.push((key.clone(), strip(node)));
        }
    }
    Node { at: upper.at, value: Value::Map(entries) }
}

fn find<'a>(entries: &'a [(Key, Node)], key: &str) -> Option<&'a (Key, Node)> {
    entries.iter().find(|(k, _)| k.text == key)
}

/// A timetable replaces a timetable: slots of two of them would mix.
fn is_whole(key: &Key) -> bool {
    key.text == "bandwidth"
}

/// `cron` and `every` exclude each other: who says one does not want the other of `defaults`, nor the time zone
/// that came with it, unless there are times in `only` that it is for.
fn displaced(key: &str, below: &[(Key, Node)], above: &[(Key, Node)]) -> bool {
    let has = |entries, key| find(entries, key).is_some_and(|(_, node)| node.value != Value::Null);
    match key {
        "every" => has(above, "cron"),
        "cron" => has(above, "every"),
        "tz" => {
            has(above, "every")
                && !has(above, "only")
                && (find(above, "only").is_some() || !has(below, "only"))
        }
        _ => false,
    }
}

/// Without what is null, at any depth of maps.
fn strip(node: &Node) -> Node {
    let Value::Map(entries) = &node.value else { return node.clone() };
    let kept = entries.iter().filter(|(_, node)| node.value != Value::Null);
    let entries = kept.map(|(key, node)| (key.clone(), strip(node))).collect();
    Node { at: node.at, value: Value::Map(entries) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(node: &Node) -> String {
        match &node.value {
            Value::Null => "null".into(),
            Value::Scalar(text) => text.clone(),
            Value::List(items) => format!("[{}]", items.iter().map(outline).collect::<Vec<_>>().join(" ")),
            Value::Map(entries) => {
                let entry = |(key, node): &(Key, Node)| format!("{}={}", key.text, outline(node));
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn maps_merge_and_null_takes_away() {
        let check = |lower: &str, upper: &str, expected: &str| {
            let parsed = |text| parse(text, Source::File(0)).unwrap();
            let merged = over(&strip(&parsed(lower)), &parsed(upper));
            assert_eq!(outline(&merged), expected, "{lower} {upper}");
        };
        check("{a: 1, b: 2}", "{b: 3, c: 4}", "{a=1 b=3 c=4}");
        check("{a: {x: 1, y: 2}}", "{a: {y: 3}}", "{a={x=1 y=3}}");
        check("{a: [1, 2]}", "{a: [3]}", "{a=[3]}");
        check("{a: {x: 1}}", "{a: 5}", "{a=5}");
        check("{a: 5}", "{a: {x: ~}}", "{a={}}");
        check("{a: 1, b: ~}", "{a: ~, c: 0}", "{c=0}");
        check("{a: {x: 1, y: 2}}", "{a: {x: null}}", "{a={y=2}}");
        check("{a: 1}", "{a: 2, a: 3}", "{a=2}");
        check("{}", "{a: 2, a: 3}", "{a=2}");
        check("{bandwidth: {sat: 1, else: 2}}", "{bandwidth: {sun: 3}}", "{bandwidth={sun=3}}");
        check("{every: 15m, jitter: 1m}", "{cron: x}", "{jitter=1m cron=x}");
        check("{cron: x, tz: UTC}", "{every: 1h}", "{every=1h}");
        check("{cron: x, tz: UTC, only: y}", "{every: 1h}", "{tz=UTC only=y every=1h}");
        check("{cron: x, tz: UTC, only: y}", "{every: 1h, only: ~}", "{every=1h}");
        check("{cron: x, tz: UTC}", "{every: 1h, only: y}", "{tz=UTC every=1h only=y}");
    }

    #[test]
    fn a_job_fills_up_from_defaults_and_then_from_what_is_built_in() {
        let parsed = |text| parse(text, Source::File(0)).unwrap();
        let defaults = parsed("{verify: ack, trash: 7d, watch: {settle: 9s}}");
        let job = job(Some(&defaults), &parsed("{trash: null, audit: 0, guards: {max_delete: {count: 5}}}"));
        let check =
            |key: &str, expected: &str| assert_eq!(job.get(key).map(outline).as_deref(), Some(expected));
        check("verify", "ack");
        check("trash", "30d");
        check("audit", "0");
        check("guards", "{max_delete={count=5 share=10%}}");
        check("watch", "{settle=9s rescan=1h}");
        assert_eq!(job.get("schedule"), None);
    }
}
