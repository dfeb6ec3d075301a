//! The tree that push and pull have to bring over unharmed: everything that file systems allow and tools
//! trip over.

use super::tree_of::{TreeOf, noise};

/// The largest piece that is carried in one go, and the size of SFTP packets where a server names none.
const EDGES: [usize; 3] = [32 << 10, 128 << 10, 256 << 10];

/// All of it, without special files.
pub fn everything() -> TreeOf {
    names().and(links()).and(modes()).and(times()).and(sizes()).and(depths())
}

/// Names as bytes.
pub fn names() -> TreeOf {
    let odd: [&[u8]; 30] = [
        b"\xff\xfe",
        b"\x80",
        b"new\nline",
        b"tab\there",
        b"esc\x1b[31mred",
        b"\x01\x7f",
        b"quo'te\"s",
        b"-rf",
        b"--delete",
        b"back\\slash",
        b"trailing\\",
        b" spaces ",
        b"*?[a-z]{b,c}",
        b"%41%00",
        b"~",
        b"$HOME `id` $(id)",
        b"a:b",
        b"...",
        b"..x",
        b".hidden",
        b"highwater",
        "caf\u{e9}".as_bytes(),   // composed
        "cafe\u{301}".as_bytes(), // decomposed: another name
        "\u{65e5}\u{672c}".as_bytes(),
        "\u{202e}gpj.exe".as_bytes(),
        b"case",
        b"CASE",
        b"con",
        b"\r",
        b"a|b;c&d",
    ];
    let tree = TreeOf::new().dir("names").file([&b"names/"[..], &[b'x'; 255]].concat(), "long");
    let tree = tree.dir([&b"names/"[..], &[0xe9; 255]].concat());
    odd.iter().fold(tree, |tree, name| {
        let (file, folder) = ([b"names/", *name].concat(), [b"names/", *name, b".d"].concat());
        tree.file(file, name).dir(&folder).file([&folder[..], b"/", name].concat(), "")
    })
}

/// Links of all kinds; none of them is followed.
pub fn links() -> TreeOf {
    TreeOf::new()
        .dir("links")
        .file("links/file", "a file")
        .dir("links/folder")
        .file("links/folder/inside", "inside")
        .link("links/to-file", "file")
        .link("links/to-folder", "folder")
        .link("links/to-folder-slash", "folder/")
        .link("links/dangling", "nowhere")
        .link("links/absolute", "/etc/hostname")
        .link("links/up", "../../../../..")
        .link("links/self", "self")
        .link("links/one", "other")
        .link("links/other", "one")
        .link("links/odd", b"\xff\n -x/../\x1b")
        .link("links/long", vec![b'y'; 1_000])
        .link(b"links/\xff", "names")
        .link("links/into-ours", ".highwater/root.json")
}

/// Permission bits.
pub fn modes() -> TreeOf {
    let tree = TreeOf::new().dir("modes").mode(0o755);
    let tree = [0o400, 0o444, 0o600, 0o640, 0o644, 0o666, 0o700, 0o755, 0o777]
        .iter()
        .fold(tree, |tree, mode| tree.file(format!("modes/{mode:o}"), format!("{mode:o}")).mode(*mode));
    [0o500, 0o555, 0o700, 0o711, 0o750, 0o777].iter().fold(tree, |tree, mode| {
        let folder = format!("modes/d{mode:o}");
        tree.dir(&folder).mode(*mode).file(format!("{folder}/in"), "in").dir(format!("{folder}/empty"))
    })
}

/// Times of files and folders, to the nanosecond.
pub fn times() -> TreeOf {
    let at = [(0, 0), (1, 999_999_999), (1_000_000_000, 123_456_789), (2_147_483_648, 1), (4_000_000_000, 0)];
    let tree = TreeOf::new().dir("times").mtime(1_234_567_890, 987_654_321);
    at.iter().fold(tree, |tree, &(secs, nanos)| {
        let folder = format!("times/d{secs}");
        let tree = tree.file(format!("times/{secs}"), "t").mtime(secs, nanos);
        tree.dir(&folder).mtime(secs, nanos).file(format!("{folder}/in"), "in").mtime(secs, nanos)
    })
}

/// Sizes round the edges of packets and pieces; empty files and folders.
pub fn sizes() -> TreeOf {
    let tree =
        TreeOf::new().dir("sizes").dir("sizes/nothing").dir("sizes/nothing/at-all").file("sizes/0", "");
    let sizes = EDGES.iter().flat_map(|&edge| [edge - 1, edge, edge + 1]).chain([1, 1_000_003]);
    sizes.fold(tree, |tree, size| tree.file(format!("sizes/{size}"), noise(size, size as u64)))
}

/// A path of some 3,000 bytes, which leaves room for the roots and the staging folder below Linux' 4,096.
pub fn depths() -> TreeOf {
    let mut path = b"deep".to_vec();
    let mut tree = TreeOf::new().dir(&path);
    while path.len() < 3_000 {
        path.push(b'/');
        path.extend([b'd'; 150]);
        tree = tree.dir(&path);
    }
    tree.file([&path[..], b"/file"].concat(), "far down")
}
