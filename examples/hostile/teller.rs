//! Bends what an honest server says, as the rules of an act have it, and keeps the honest server believing that the
//! client asks for what it has. Keeps, too, what a judge wants to know of the client.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use highwater::remote::dialect::Reader;
use highwater::remote::dialect::payload::{put_string, put_u32};

use crate::packet::{self, Attrs, Entry, first_string, id_of, reply, with_first_string};
use crate::random::{Random, mix, number_of};
use crate::story::{Lie, Rule, links, names};

/// What every file outside the roots begins with.
pub const CANARY: &[u8] = b"CANARY-OUTSIDE";

/// The far root.
pub const ROOT: &[u8] = b"/far";

/// Names in a page of a listing without end.
const PAGE: usize = 40;

/// What is known of the client, over all of its connections.
#[derive(Debug, Default)]
pub struct Witness {
    /// Paths that it was told do not exist.
    pub absent: BTreeSet<Vec<u8>>,
    /// Paths that it was told are files or links, so that nothing can be below them.
    pub no_folders: BTreeSet<Vec<u8>>,
    /// Requests that change something, of a path that is not below the far root.
    pub outside: Vec<String>,
    /// Requests that change something at all.
    pub changes: u64,
    /// Whether it sent what is outside of its root.
    pub leaked: bool,
    /// Lies told, by name.
    pub lies: BTreeMap<String, u64>,
    pub requests: u64,
}

/// What goes out in place of a reply, or besides it.
#[derive(Debug, PartialEq, Eq)]
pub enum Out {
    Now(Vec<u8>),
    /// A byte at a time.
    Slowly(Vec<u8>),
    /// Nothing more, and the connection is cut.
    Cut,
    /// Nothing for a while, and then the connection is cut.
    Silence,
}

/// What was asked.
#[derive(Debug, Clone)]
struct Asked {
    kind: u8,
    /// As the client has it: a path, that of a handle, or the name of an extension.
    subject: Vec<u8>,
}

/// One session of SFTP.
pub struct Teller {
    rules: Vec<(Rule, u64, u64)>,
    random: Random,
    /// A folder that is none of the server's business.
    outside: String,
    asked: HashMap<[u8; 4], Asked>,
    /// The path of each handle, by what the client has of it.
    handles: HashMap<Vec<u8>, Vec<u8>>,
    /// Handles as the honest server has them, by what the client has.
    real_handles: HashMap<Vec<u8>, Vec<u8>>,
    /// Paths that lies have made up, and what the honest server has there.
    aliases: Vec<(Vec<u8>, Vec<u8>)>,
    late: Option<Vec<u8>>,
    /// Pages told of listings without end.
    pages: u64,
}

impl Teller {
    pub fn new(rules: &[Rule], seed: u64, outside: String) -> Self {
        Self {
            rules: rules.iter().map(|rule| (rule.clone(), 0, 0)).collect(),
            random: Random::new(seed),
            outside,
            asked: HashMap::new(),
            handles: HashMap::new(),
            real_handles: HashMap::new(),
            aliases: Vec::new(),
            late: None,
            pages: 0,
        }
    }

    /// What the honest server is asked instead.
    pub fn hear(&mut self, request: Vec<u8>, witness: &mut Witness) -> Vec<u8> {
        witness.requests += 1;
        witness.leaked |= request.windows(CANARY.len()).any(|window| window == CANARY);
        let kind = request.first().copied().unwrap_or_default();
        if kind == packet::INIT {
            self.asked.insert([0; 4], Asked { kind, subject: Vec::new() });
            return request;
        }
        let Some((first, rest)) = first_string(&request) else { return request };
        let subject = self.handles.get(first).cloned().unwrap_or_else(|| first.to_vec());
        watch_change(kind, first, rest, witness);
        self.asked.insert(id_of(&request), Asked { kind, subject });
        if let Some(real) = self.real_handles.get(first) {
            return with_first_string(&request, real);
        }
        match self.true_path(first) {
            Some(path) if kind != packet::EXTENDED => with_first_string(&request, &path),
            _ => request,
        }
    }

    /// What the honest server has where a lie said something is.
    fn true_path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let (lie, truth) = self.aliases.iter().rev().find(|(lie, _)| {
            path.strip_prefix(lie.as_slice()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        })?;
        Some([truth, &path[lie.len()..]].concat())
    }

    /// What goes out for an honest reply.
    pub fn tell(&mut self, honest: Vec<u8>, witness: &mut Witness) -> Vec<Out> {
        let id = if honest.first() == Some(&packet::VERSION) { [0; 4] } else { id_of(&honest) };
        let Some(asked) = self.asked.remove(&id) else { return vec![Out::Now(packet::framed(&honest))] };
        let struck: Vec<Lie> = self.struck(&asked).collect();
        let mut told = honest.clone();
        for lie in &struck {
            let before = told.clone();
            told = self.bend(told, lie, &asked);
            if told != before {
                *witness.lies.entry(lie.name()).or_default() += 1;
            }
        }
        self.note(&honest, &told, &asked, witness);
        self.send(told, &struck, witness)
    }

    fn struck<'a>(&'a mut self, asked: &Asked) -> impl Iterator<Item = Lie> + 'a {
        let of_path = mix(number_of(&String::from_utf8_lossy(&asked.subject)) ^ 0x5eed) % 1000;
        let (kind, random) = (asked.kind, &mut self.random);
        self.rules.iter_mut().filter_map(move |(rule, seen, done)| {
            if rule.of.is_some_and(|of| of != kind) {
                return None;
            }
            *seen += 1;
            let draw = if rule.is_steady { of_path } else { random.below(1000) };
            let strikes = *seen >= rule.first && *done < rule.times && draw < rule.per_mille;
            *done += u64::from(strikes);
            strikes.then(|| rule.lie.clone())
        })
    }

    /// What becomes of the content of a reply.
    fn bend(&mut self, told: Vec<u8>, lie: &Lie, asked: &Asked) -> Vec<u8> {
        let (id, kind) = (id_of(&told), told.first().copied().unwrap_or_default());
        let bent = match (lie, kind) {
            (Lie::Version(number), packet::VERSION) => {
                Some([&[kind], &number.to_be_bytes()[..], told.get(5..).unwrap_or_default()].concat())
            }
            (Lie::Extensions(count), packet::VERSION) => Some(extensions(*count)),
            (_, packet::VERSION) => None, // the rest has no meaning there
            (Lie::Status(code), _) => Some(packet::status(id, *code, b"no \x1b[31mway\r\n\x07\xff")),
            (Lie::LongStatus(code), _) => Some(packet::status(id, *code, &b"\x1b[5mlong ".repeat(20_000))),
            (Lie::OtherType(kind), _) => Some(of_type(*kind, id)),
            (Lie::WrongId(by), _) => {
                let wrong = u32::from_be_bytes(id).wrapping_add(*by).to_be_bytes();
                Some([&[kind], &wrong[..], told.get(5..).unwrap_or_default()].concat())
            }
            (Lie::Payload(payload), packet::EXTENDED_REPLY) => {
                Some([reply(kind, id), payload.clone()].concat())
            }
            (_, packet::NAME) => self.bend_names(&told, lie, asked),
            (Lie::Endless(pages), packet::STATUS) if asked.kind == packet::READDIR && self.pages < *pages => {
                self.pages += 1;
                Some(self.page(id))
            }
            (Lie::EndlessData, packet::STATUS) if asked.kind == packet::READ => {
                Some(packet::one_string(packet::DATA, id, &[b'e'; 32_768]))
            }
            (_, packet::ATTRS) => {
                packet::attrs_of(&told).map(|attrs| packet::attrs(id, &bend_attrs(attrs, lie)))
            }
            (_, packet::DATA) => {
                bend_data(&told, lie).map(|data| packet::one_string(packet::DATA, id, &data))
            }
            (Lie::Handle(handle), packet::HANDLE) => Some(packet::one_string(packet::HANDLE, id, handle)),
            _ => None,
        };
        bent.unwrap_or(told)
    }

    fn bend_names(&mut self, told: &[u8], lie: &Lie, asked: &Asked) -> Option<Vec<u8>> {
        let id = id_of(told);
        let mut entries = packet::names_of(told)?;
        if asked.kind == packet::READLINK {
            let links = links(&self.outside);
            let Lie::Link(which) = lie else { return None };
            entries.first_mut()?.name = links[which % links.len()].clone();
            return Some(packet::names(id, &entries));
        }
        if asked.kind != packet::READDIR {
            return None;
        }
        let listed: Vec<usize> =
            (0..entries.len()).filter(|&n| ![&b"."[..], b".."].contains(&&*entries[n].name)).collect();
        match lie {
            Lie::Names(which) => {
                let evil = names(&self.outside);
                for (n, &index) in listed.iter().enumerate().filter(|(n, _)| n % 2 == which % 2) {
                    let name = evil[(which + n) % evil.len()].clone();
                    let honest = std::mem::replace(&mut entries[index].name, name.clone());
                    let truth = self.true_path(&asked.subject).unwrap_or_else(|| asked.subject.clone());
                    self.aliases.push((join(&asked.subject, &name), join(&truth, &honest)));
                }
            }
            Lie::Invented(which) => {
                let evil = names(&self.outside);
                let attrs =
                    Attrs { size: Some(4), mode: Some(0o104_755), times: Some(0), ..Attrs::default() };
                entries.extend((0..3).map(|n| Entry { name: evil[(which + n) % evil.len()].clone(), attrs }));
            }
            Lie::Doubled => entries.extend(entries.clone()),
            Lie::Omitted => entries.truncate(entries.len() / 2),
            Lie::Size(_)
            | Lie::Mode(_)
            | Lie::Times(_)
            | Lie::Owner(_)
            | Lie::NoAttrs
            | Lie::ExtendedAttrs => {
                listed.iter().for_each(|&n| entries[n].attrs = bend_attrs(entries[n].attrs, lie));
            }
            _ => return None,
        }
        Some(packet::names(id, &entries))
    }

    /// A page of a listing that goes on and on.
    fn page(&mut self, id: [u8; 4]) -> Vec<u8> {
        let attrs = Attrs { size: Some(0), mode: Some(0o100_644), times: Some(0), ..Attrs::default() };
        let name = |number: u64| [format!("{number:016x}").into_bytes(), vec![b'n'; 4000]].concat();
        let entries: Vec<Entry> =
            (0..PAGE).map(|_| Entry { name: name(self.random.next()), attrs }).collect();
        packet::names(id, &entries)
    }

    /// Remembers what the client has been told, and which handle stands for what.
    fn note(&mut self, honest: &[u8], told: &[u8], asked: &Asked, witness: &mut Witness) {
        if [packet::LSTAT, packet::STAT].contains(&asked.kind) {
            let code = || Reader::new(told.get(5..)?).u32().ok();
            let mode = || packet::attrs_of(told)?.mode;
            match told.first() {
                Some(&packet::STATUS) if code() == Some(packet::NO_SUCH_FILE) => {
                    witness.absent.insert(asked.subject.clone());
                }
                Some(&packet::ATTRS) if mode().is_some_and(|mode| matches!(mode >> 12, 0o10 | 0o12)) => {
                    witness.no_folders.insert(asked.subject.clone());
                }
                _ => {}
            }
        }
        let opened = [packet::OPEN, packet::OPENDIR].contains(&asked.kind);
        if opened
            && honest.first() == Some(&packet::HANDLE)
            && told.first() == Some(&packet::HANDLE)
            && let (Some((real, _)), Some((shown, _))) = (first_string(honest), first_string(told))
        {
            self.handles.insert(shown.to_vec(), asked.subject.clone());
            self.real_handles.insert(shown.to_vec(), real.to_vec());
        }
    }

    /// How a reply goes out.
    fn send(&mut self, told: Vec<u8>, struck: &[Lie], witness: &mut Witness) -> Vec<Out> {
        let framed = packet::framed(&told);
        let is_of_line = |lie: &&Lie| {
            use Lie::{Bit, Cut, Drip, Late, Raw, Silence, Torn, Twice, Unasked};
            matches!(lie, Twice | Unasked | Silence | Late | Drip | Cut | Raw(_) | Torn(_) | Bit(_))
        };
        let held = self.late.take().map(Out::Now);
        // A reply with the wrong id leaves a request without one.
        let hush = struck.iter().any(|lie| matches!(lie, Lie::WrongId(_))).then_some(Out::Silence);
        let Some(lie) = struck.iter().find(is_of_line) else {
            return std::iter::once(Out::Now(framed)).chain(held).chain(hush).collect();
        };
        *witness.lies.entry(lie.name()).or_default() += 1;
        let mut out = match lie {
            Lie::Twice => vec![Out::Now(framed.clone()), Out::Now(framed)],
            Lie::Unasked => {
                let id = (self.random.next() as u32).to_be_bytes();
                vec![Out::Now(packet::framed(&packet::status(id, 0, b"ok"))), Out::Now(framed)]
            }
            Lie::Silence => vec![Out::Silence],
            Lie::Late => {
                self.late = Some(framed);
                Vec::new()
            }
            Lie::Drip if framed.len() < 300 => vec![Out::Slowly(framed)],
            Lie::Cut => vec![Out::Cut],
            Lie::Raw(bytes) => vec![Out::Now(bytes.clone()), Out::Silence],
            Lie::Torn(length) => {
                vec![Out::Now(framed[..framed.len().saturating_sub(1).min(*length)].to_vec()), Out::Cut]
            }
            Lie::Bit(which) => {
                let mut framed = framed;
                let bit = which % (framed.len() as u64 * 8);
                framed[(bit / 8) as usize] ^= 1 << (bit % 8);
                vec![Out::Now(framed), Out::Silence]
            }
            _ => vec![Out::Now(framed)],
        };
        out.extend(held.into_iter().chain(hush));
        out
    }

    /// What was kept back, if nothing else comes.
    pub fn held(&mut self) -> Option<Vec<u8>> {
        self.late.take()
    }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    [folder, b"/", name].concat()
}

fn extensions(count: u32) -> Vec<u8> {
    let mut out = vec![packet::VERSION];
    put_u32(&mut out, 3);
    for number in 0..count {
        put_string(&mut out, format!("evil-{number}\x1b[31m@example.org").as_bytes());
        put_string(&mut out, &[b'1'; 20]);
    }
    out
}

/// A reply of a type, whatever was asked.
fn of_type(kind: u8, id: [u8; 4]) -> Vec<u8> {
    let attrs = Attrs { mode: Some(0o100_644), size: Some(1), ..Attrs::default() };
    match kind {
        packet::STATUS => packet::status(id, 0, b""),
        packet::HANDLE => packet::one_string(kind, id, b"\xff\0evil"),
        packet::DATA => packet::one_string(kind, id, &[b'o'; 40_000]),
        packet::NAME => packet::names(id, &[]),
        packet::ATTRS => packet::attrs(id, &attrs),
        _ => [reply(kind, id), vec![0xff; 40]].concat(),
    }
}

fn bend_attrs(attrs: Attrs, lie: &Lie) -> Attrs {
    match *lie {
        Lie::Size(size) => Attrs { size: Some(size), ..attrs },
        Lie::Mode(mode) => Attrs { mode: Some(mode), ..attrs },
        Lie::Times(times) => Attrs { times: Some(times), ..attrs },
        Lie::Owner(owner) => Attrs { owner: Some(owner), ..attrs },
        Lie::NoAttrs => Attrs::default(),
        Lie::ExtendedAttrs => Attrs { extended: 300, ..attrs },
        _ => attrs,
    }
}

fn bend_data(told: &[u8], lie: &Lie) -> Option<Vec<u8>> {
    let mut data = first_string(told)?.0.to_vec();
    match lie {
        Lie::LongData => data.extend([b'l'; 5000]),
        Lie::ShortData => data.truncate((data.len() / 2).max(1)),
        Lie::NoData => data.clear(),
        Lie::OtherData => data.iter_mut().for_each(|byte| *byte ^= 1),
        _ => return None,
    }
    Some(data)
}

/// Notes requests that change something, and where.
fn watch_change(kind: u8, first: &[u8], rest: &[u8], witness: &mut Witness) {
    const WRITES: u32 = 2 | 4 | 8 | 16; // SSH_FXF_WRITE, APPEND, CREAT, TRUNC
    let second = || Reader::new(rest).string().unwrap_or_default().to_vec();
    let both = |payload: &[u8]| -> Vec<Vec<u8>> {
        let mut reader = Reader::new(payload);
        (0..2).filter_map(|_| reader.string().ok().map(<[u8]>::to_vec)).collect()
    };
    let paths = match kind {
        packet::OPEN if Reader::new(rest).u32().is_ok_and(|flags| flags & WRITES != 0) => {
            vec![first.to_vec()]
        }
        packet::SETSTAT | packet::REMOVE | packet::MKDIR | packet::RMDIR => vec![first.to_vec()],
        packet::RENAME => vec![first.to_vec(), second()],
        packet::SYMLINK => vec![second()], // OpenSSH's order: the target, then the link
        packet::EXTENDED if first == b"posix-rename@openssh.com" => both(rest),
        packet::EXTENDED if first == b"lsetstat@openssh.com" => both(rest)[..1].to_vec(),
        _ => return,
    };
    witness.changes += 1;
    for path in paths.iter().filter(|path| !is_inside(path)) {
        witness.outside.push(format!("request {kind} of {}", path.escape_ascii()));
    }
}

/// Whether a path is the far root or below it, without detours.
fn is_inside(path: &[u8]) -> bool {
    let Some(below) = path.strip_prefix(ROOT) else { return false };
    let mut parts = below.split(|&byte| byte == b'/');
    let is_root = parts.next() == Some(b"");
    is_root && parts.all(|part| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_and_what_is_below_it_is_inside() {
        let check = |path: &str, inside: bool| assert_eq!(is_inside(path.as_bytes()), inside, "{path}");
        check("/far", true);
        check("/far/a/b", true);
        check("/far/a/../../b", false);
        check("/farther", false);
        check("/far/", false);
        check("/far//a", false);
        check("/", false);
        check("a", false);
    }
}
