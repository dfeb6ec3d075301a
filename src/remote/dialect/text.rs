//! Bytes as Latin-1 text and back: byte `b` is the character U+00`b`, two bytes of UTF-8 from 0x80 on.

/// A character above U+00FF, or bytes that are not UTF-8: nothing that [`expand`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotLatin1;

/// Appends `bytes` as UTF-8. At most twice as long.
pub(super) fn expand(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            0..0x80 => out.push(byte),
            _ => out.extend_from_slice(&[0xc0 | byte >> 6, 0x80 | byte & 0x3f]),
        }
    }
}

/// Appends the bytes that [`expand`] made `utf8` from.
pub(super) fn collapse(utf8: &[u8], out: &mut Vec<u8>) -> Result<(), NotLatin1> {
    let text = std::str::from_utf8(utf8).map_err(|_| NotLatin1)?;
    for c in text.chars() {
        out.push(u8::try_from(u32::from(c)).map_err(|_| NotLatin1)?);
    }
    Ok(())
}

/// The same for text that people read and nothing depends on: what has no byte becomes `?`.
pub(super) fn collapse_lossy(utf8: &[u8], out: &mut Vec<u8>) {
    for c in String::from_utf8_lossy(utf8).chars() {
        out.push(u8::try_from(u32::from(c)).unwrap_or(b'?'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::{from_wire, to_wire};
    use proptest::prelude::*;

    fn expanded(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        expand(bytes, &mut out);
        out
    }

    #[test]
    fn what_is_not_latin1_is_told() {
        let check = |utf8: &[u8], lossy: &[u8]| {
            assert_eq!(collapse(utf8, &mut Vec::new()), Err(NotLatin1));
            let mut out = Vec::new();
            collapse_lossy(utf8, &mut out);
            assert_eq!(out, lossy);
        };
        check("a\u{2026}b".as_bytes(), b"a?b");
        check("\u{100}".as_bytes(), b"?");
        check(b"a\xff", b"a?");
        check(b"\xc3", b"?");
    }

    proptest! {
        #[test]
        fn every_byte_survives_as_path_does_it(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let utf8 = expanded(&bytes);
            let text = to_wire(&bytes);
            prop_assert_eq!(&utf8, text.as_bytes());
            prop_assert_eq!(&from_wire(&text), &bytes);
            let (mut back, mut lossy) = (Vec::new(), Vec::new());
            collapse(&utf8, &mut back).unwrap();
            collapse_lossy(&utf8, &mut lossy);
            prop_assert_eq!(&back, &bytes);
            prop_assert_eq!(lossy, bytes);
        }
    }
}
