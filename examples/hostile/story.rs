//! The grammar of misbehaviour: what a server does in a session, drawn from one number.
//!
//! ```text
//! session = way, act, act…          one round of the program each
//! act     = edits, lies of SSH, rules
//! rule    = which requests, from the how-manieth, how often, lie
//! ```

use std::fmt;

use crate::packet::{
    CLOSE, EXTENDED, FSETSTAT, FSTAT, INIT, LSTAT, MKDIR, OPEN, OPENDIR, READ, READDIR, READLINK, REALPATH,
    REMOVE, RENAME, SETSTAT, STAT, SYMLINK, WRITE,
};
use crate::random::Random;

/// Which way the program carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Push,
    Pull,
}

/// A whole session.
#[derive(Debug, Clone)]
pub struct Story {
    pub way: Way,
    /// Whether deletes are followed.
    pub delete: bool,
    /// Whether the content is read twice.
    pub full: bool,
    pub acts: Vec<Act>,
}

/// What happens in one round.
#[derive(Debug, Clone, Default)]
pub struct Act {
    /// What people (or the server) change on the far disk before it.
    pub far_edits: Vec<Edit>,
    /// What people change here before it.
    pub near_edits: Vec<Edit>,
    pub ssh: Vec<SshLie>,
    pub rules: Vec<Rule>,
}

/// A change to a tree; the number chooses the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    Rewrite(u64),
    New(u64),
    Remove(u64),
    FileToFolder(u64),
    FolderToFile(u64),
    /// A folder becomes a link that leads out.
    FolderToLink(u64),
    /// A link becomes a folder with a file in it.
    LinkToFolder(u64),
    FileToLink(u64),
    Swap(u64),
    SetUid(u64),
    EmptyRoot,
}

/// What goes wrong below SFTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SshLie {
    /// Lines before the version line (RFC 4253 §4.2).
    LinesBefore,
    Banner,
    LongBanner,
    /// Another host key than before.
    OtherKey,
    /// Words on the channel's standard error.
    Stderr,
    /// Channels opened towards the client.
    Channels,
    /// Goodbye after so many replies.
    Goodbye(u64),
    /// Refuses the login.
    NoLogin,
    /// Refuses the subsystem.
    NoSubsystem,
    /// Asks all the time whether the client is there.
    Keepalives,
}

/// Which replies are bent, and how.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The type of request; `None`: every one.
    pub of: Option<u8>,
    /// From the how-manieth on, counting from 1.
    pub first: u64,
    pub times: u64,
    pub per_mille: u64,
    /// Chosen by path, so that the lie is always the same one.
    pub is_steady: bool,
    pub lie: Lie,
}

/// What becomes of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lie {
    Status(u32),
    LongStatus(u32),
    /// A reply of this type, well formed and out of place.
    OtherType(u8),
    WrongId(u32),
    Twice,
    Unasked,
    Silence,
    /// Kept back until the next one has gone out.
    Late,
    Drip,
    Cut,
    /// These bytes in its place, whatever they are.
    Raw(Vec<u8>),
    /// Only so much of it, then nothing.
    Torn(usize),
    /// One bit is another.
    Bit(u64),
    /// Names that lead elsewhere, by a number into [`names`].
    Names(usize),
    Invented(usize),
    Doubled,
    Omitted,
    /// The listing goes on for so many pages more.
    Endless(u64),
    Size(u64),
    Mode(u32),
    Times(u64),
    Owner(u64),
    NoAttrs,
    ExtendedAttrs,
    /// Links that lead elsewhere, by a number into [`links`].
    Link(usize),
    /// More than was asked for, after the end too.
    EndlessData,
    LongData,
    ShortData,
    NoData,
    OtherData,
    Handle(Vec<u8>),
    Version(u32),
    Extensions(u32),
    /// In place of what an extension answers.
    Payload(Vec<u8>),
}

impl Lie {
    /// What it is called when lies are counted.
    pub fn name(&self) -> String {
        let text = format!("{self:?}");
        text.split(['(', ' ']).next().unwrap_or_default().to_owned()
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:?}, delete: {}, verify: {}",
            self.way,
            self.delete,
            if self.full { "full" } else { "ack" }
        )?;
        for (number, act) in self.acts.iter().enumerate() {
            writeln!(f, "  round {}: far {:?}, near {:?}", number + 1, act.far_edits, act.near_edits)?;
            writeln!(f, "    ssh {:?}", act.ssh)?;
            for rule in &act.rules {
                writeln!(f, "    {}", format!("{rule:?}").chars().take(200).collect::<String>())?;
            }
        }
        Ok(())
    }
}

/// What requests are that a rule may name.
const REQUESTS: [u8; 19] = [
    INIT, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT, OPENDIR, READDIR, REMOVE, MKDIR,
    REALPATH, STAT, RENAME, READLINK, SYMLINK, EXTENDED,
];

/// Names that no folder has, or that should do no harm. `outside` is a folder that is none of the server's
/// business.
pub fn names(outside: &str) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        &b"../evil"[..],
        b"../../evil",
        b"..",
        b".",
        b"",
        b"/",
        b"a/b",
        b"good/../../evil",
        b"nul\0nul",
        b"..\0",
        b"...",
        b".. ",
        b".highwater",
        b".highwater-evil",
        b".HIGHWATER",
        b"\x1b]0;owned\x07",
        b"\x1b[2J\x1b[31m",
        b"two\nlines",
        b"bell\x07\r\x08",
        "\u{9b}31m".as_bytes(),
        "\u{202e}gnp.exe".as_bytes(),
        b"\xff\xfe\x80",
        b"-rf",
        b"~",
        b"$(touch owned)",
        b"`touch owned`",
        b"%s%n%x",
        b"a\\..\\b",
        b"con",
        b" ",
        b"\x7f",
        b"evil\0/../../evil",
        b"folder/",
        b"./x",
        b"folder//x",
        b"\xc0\xae\xc0\xae/evil",
    ]
    .map(Vec::from)
    .into();
    names.extend([vec![b'n'; 255], vec![b'n'; 256], vec![b'n'; 5000], vec![b'/'; 300]]);
    names.push(format!("{outside}/evil").into());
    names.push(format!("../victim/evil{}", "x".repeat(9)).into());
    names
}

/// Where links may lead to. `outside` as above.
pub fn links(outside: &str) -> Vec<Vec<u8>> {
    let mut links: Vec<Vec<u8>> = [
        &b"/"[..],
        b"..",
        b".",
        b"",
        b"\0",
        b"../victim",
        b"../../../../../../../../etc/passwd",
        b"/proc/self/root",
        b"\x1b[31mred",
        b".highwater",
        b".highwater/stage",
        b"self",
        b"\xff\xfe",
        b"~",
    ]
    .map(Vec::from)
    .into();
    links.extend([outside.into(), format!("{outside}/secret").into(), vec![b'l'; 5000], vec![b'/'; 70_000]]);
    links
}

impl Story {
    /// What a seed tells. `patient`: the server may fall silent, and listings go on, for as long as the
    /// client bears it.
    pub fn draw(seed: u64, patient: bool) -> Self {
        let mut random = Random::new(seed);
        let way = if random.chance(65) { Way::Pull } else { Way::Push };
        let (delete, full) = (random.chance(60), random.chance(60));
        let honest_first = random.chance(55);
        let mut acts = vec![if honest_first { Act::default() } else { act(&mut random, patient) }];
        if honest_first || random.chance(40) {
            acts.push(act(&mut random, patient));
        }
        if random.chance(20) {
            acts.push(Act { far_edits: edits(&mut random), ..Act::default() });
        }
        Self { way, delete, full, acts }
    }
}

fn act(random: &mut Random, patient: bool) -> Act {
    let far_edits = edits(random);
    let near_edits = edits(random);
    let ssh = if random.chance(25) { vec![ssh_lie(random)] } else { Vec::new() };
    let rules = (0..random.between(u64::from(ssh.is_empty()), 4)).map(|_| rule(random, patient)).collect();
    Act { far_edits, near_edits, ssh, rules }
}

fn edits(random: &mut Random) -> Vec<Edit> {
    (0..random.below(5)).map(|_| edit(random)).collect()
}

fn edit(random: &mut Random) -> Edit {
    let which = random.next();
    match random.below(22) {
        0..=3 => Edit::Rewrite(which),
        4..=6 => Edit::New(which),
        7..=9 => Edit::Remove(which),
        10 => Edit::FileToFolder(which),
        11 => Edit::FolderToFile(which),
        12..=13 => Edit::FolderToLink(which),
        14..=15 => Edit::LinkToFolder(which),
        16..=17 => Edit::FileToLink(which),
        18..=19 => Edit::SetUid(which),
        20 => Edit::Swap(which),
        _ => Edit::EmptyRoot,
    }
}

fn ssh_lie(random: &mut Random) -> SshLie {
    match random.below(13) {
        0 => SshLie::LinesBefore,
        1 => SshLie::Banner,
        2 => SshLie::LongBanner,
        3..=5 => SshLie::OtherKey,
        6 => SshLie::Stderr,
        7 => SshLie::Channels,
        8..=9 => SshLie::Goodbye(random.between(1, 40)),
        10 => SshLie::NoLogin,
        11 => SshLie::NoSubsystem,
        _ => SshLie::Keepalives,
    }
}

fn rule(random: &mut Random, patient: bool) -> Rule {
    let lie = match random.below(100) {
        0..=34 => of_the_line(random, patient),
        35..=59 => of_names(random, patient),
        60..=84 => of_attributes(random),
        _ => of_content(random),
    };
    let breaks =
        matches!(lie, Lie::Raw(_) | Lie::Torn(_) | Lie::Cut | Lie::Silence | Lie::Bit(_) | Lie::WrongId(_));
    let of = if random.chance(if breaks { 70 } else { 35 }) { Some(*random.pick(&REQUESTS)) } else { None };
    let first = if breaks && random.chance(70) { random.between(1, 40) } else { random.between(1, 4) };
    let times = if breaks { random.between(1, 3) } else { *random.pick(&[1, 3, u64::MAX, u64::MAX]) };
    let per_mille = *random.pick(&[1000, 1000, 400, 100]);
    Rule { of, first, times, per_mille, is_steady: random.chance(50), lie }
}

/// What may befall any reply.
fn of_the_line(random: &mut Random, patient: bool) -> Lie {
    const CODES: [u32; 13] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 0x8000_0000, u32::MAX];
    const TYPES: [u8; 9] = [0, 2, 101, 102, 103, 104, 105, 201, 255];
    const RAW: [&[u8]; 9] = [
        b"\xff\xff\xff\xff\x65",
        b"\x7f\xff\xff\xff",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x01\x65",
        b"Killed\r\n\x1b[2J",
        b"\x00\x00\x00\x05\x68\xff\xff\xff\xff",
        b"\x00\x00\x00\x09\x68\x00\x00\x00\x01\xff\xff\xff\xff",
        b"\x00\x04\x00\x01\x67\x00\x00\x00\x01\xff\xff\xff\xff",
        b"\x00\x00\x00\x03\x65\x00\x00",
    ];
    match random.below(18) {
        0..=3 => Lie::Status(*random.pick(&CODES)),
        4 => Lie::LongStatus(*random.pick(&CODES)),
        5..=6 => Lie::OtherType(*random.pick(&TYPES)),
        7 => Lie::WrongId(random.between(1, 3) as u32),
        8 => Lie::Twice,
        9 => Lie::Unasked,
        10 if patient => Lie::Silence,
        10..=11 => Lie::Late,
        12..=13 => Lie::Drip,
        14 => Lie::Cut,
        15 => Lie::Raw(random.pick(&RAW).to_vec()),
        16 => Lie::Torn(random.between(0, 30) as usize),
        _ => Lie::Bit(random.next()),
    }
}

fn of_names(random: &mut Random, patient: bool) -> Lie {
    match random.below(20) {
        0..=7 => Lie::Names(random.below(1000) as usize),
        8..=11 => Lie::Invented(random.below(1000) as usize),
        12 => Lie::Doubled,
        13..=14 => Lie::Omitted,
        15 => Lie::Endless(if patient { u64::MAX } else { random.between(1, 40) }),
        _ => Lie::Link(random.below(1000) as usize),
    }
}

fn of_attributes(random: &mut Random) -> Lie {
    const SIZES: [u64; 9] = [0, 1, 4, 32_768, 1 << 20, 1 << 32, 1 << 40, 1 << 63, u64::MAX];
    const MODES: [u32; 14] = [
        0o104_755,
        0o102_755,
        0o106_777,
        0o107_777,
        0o100_000,
        0o040_777,
        0o041_777,
        0o046_777,
        0o120_777,
        0o010_644,
        0o020_666,
        0o060_666,
        0o140_777,
        u32::MAX,
    ];
    match random.below(12) {
        0..=3 => Lie::Size(*random.pick(&SIZES)),
        4..=8 => Lie::Mode(*random.pick(&MODES)),
        9 => Lie::Times(*random.pick(&[0, u64::MAX, 1 << 63, 0xffff_ffff])),
        10 if random.chance(50) => Lie::NoAttrs,
        10 => Lie::Owner(*random.pick(&[0, u64::MAX])),
        _ => Lie::ExtendedAttrs,
    }
}

fn of_content(random: &mut Random) -> Lie {
    match random.below(13) {
        0 => Lie::EndlessData,
        1 => Lie::LongData,
        2 => Lie::ShortData,
        3 => Lie::NoData,
        4..=5 => Lie::OtherData,
        6 => Lie::Handle(Vec::new()),
        7 => Lie::Handle(vec![0xff; *random.pick(&[1, 4, 256, 257, 100_000])]),
        8 => Lie::Version(*random.pick(&[0, 1, 2, 4, 6, u32::MAX])),
        9 => Lie::Extensions(*random.pick(&[0, 1, 1000, 5000])),
        _ => Lie::Payload(vec![*random.pick(&[0, 0x7f, 0xff]); *random.pick(&[0, 1, 8, 32, 88, 5000])]),
    }
}
