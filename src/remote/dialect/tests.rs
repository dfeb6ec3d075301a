//! The dialect packet by packet: what passes, what is mended, what is refused.

use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use russh_sftp::protocol::Packet;

const LIMITS: FrameLimits = FrameLimits { packet_bytes: 2000 };
const ID: u32 = 0xfe80_0001;

fn every_dialect() -> [Dialect; 4] {
    let all = [Dialect::requests_in, Dialect::requests_out, Dialect::replies_in, Dialect::replies_out];
    all.map(|dialect| dialect(LIMITS))
}

/// One field of a packet.
#[derive(Debug, Clone)]
enum Field {
    U32(u32),
    U64(u64),
    Text(Vec<u8>),
    Raw(Vec<u8>),
}
use Field::{Raw, Text, U32, U64};

fn packet(kind: u8, fields: &[Field]) -> Vec<u8> {
    let mut body = vec![kind];
    for field in fields {
        match field {
            U32(value) => payload::put_u32(&mut body, *value),
            U64(value) => payload::put_u64(&mut body, *value),
            Text(bytes) => payload::put_string(&mut body, bytes),
            Raw(bytes) => body.extend_from_slice(bytes),
        }
    }
    let mut framed = Vec::new();
    payload::put_string(&mut framed, &body);
    framed
}

fn text(bytes: impl AsRef<[u8]>) -> Field {
    Text(bytes.as_ref().to_vec())
}

/// What comes of a whole packet.
fn through(dialect: Dialect, packet: &[u8]) -> Result<Vec<u8>, FrameError> {
    let mut out = Vec::new();
    match dialect.step(packet, &mut out)? {
        Step::Pass(count) => {
            assert_eq!((count, out.len()), (packet.len(), 0));
            Ok(packet.to_vec())
        }
        Step::Replace { consumed, rest } => {
            assert_eq!(consumed + rest, packet.len());
            out.extend_from_slice(&packet[consumed..]);
            assert_eq!(out[..4], (out.len() as u32 - 4).to_be_bytes());
            Ok(out)
        }
        Step::Need(count) => panic!("{count} bytes needed of {}", packet.len()),
    }
}

/// What russh-sftp makes of a packet, as it would send it on.
fn through_russh_sftp(packet: &[u8]) -> Vec<u8> {
    let mut body = Bytes::copy_from_slice(&packet[4..]);
    let decoded = Packet::try_from(&mut body).unwrap();
    Bytes::try_from(decoded).unwrap().to_vec()
}

fn attrs() -> impl Strategy<Value = Vec<Field>> {
    let (number, double) = (any::<Option<u32>>(), any::<Option<u64>>);
    (double(), double(), number, double()).prop_map(|(size, owner, mode, times)| {
        let flag = |bit, there: bool| if there { bit } else { 0 };
        let flags = flag(1, size.is_some())
            | flag(2, owner.is_some())
            | flag(4, mode.is_some())
            | flag(8, times.is_some());
        let mut fields = vec![U32(flags)];
        fields.extend(size.map(U64).into_iter().chain(owner.map(U64)));
        fields.extend(mode.map(U32).into_iter().chain(times.map(U64)));
        fields
    })
}

/// Some fields to build a packet from, whatever its type.
#[derive(Debug, Clone)]
struct Parts {
    a: Vec<u8>,
    b: Vec<u8>,
    number: u32,
    offset: u64,
    attrs: Vec<Field>,
    more: Vec<Field>,
}

fn parts() -> impl Strategy<Value = Parts> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..60);
    (bytes(), bytes(), any::<u32>(), any::<u64>(), attrs(), attrs())
        .prop_map(|(a, b, number, offset, attrs, more)| Parts { a, b, number, offset, attrs, more })
}

fn with(fields: &[Field], attrs: &[Field]) -> Vec<Field> {
    [&[U32(ID)], fields, attrs].concat()
}

/// One request of each type.
fn requests(parts: &Parts) -> Vec<Vec<u8>> {
    let (a, b) = (text(&parts.a), text(&parts.b));
    let mut all = vec![
        packet(1, &[U32(3), a.clone(), b.clone()]),
        packet(3, &with(&[a.clone(), U32(parts.number)], &parts.attrs)),
        packet(5, &with(&[a.clone(), U64(parts.offset), U32(parts.number)], &[])),
        packet(6, &with(&[a.clone(), U64(parts.offset), b.clone()], &[])),
        packet(18, &with(&[a.clone(), b.clone()], &[])),
        packet(20, &with(&[a.clone(), b.clone()], &[])),
        packet(200, &with(&[a.clone(), Raw(parts.b.clone())], &[])),
    ];
    all.extend([9, 10, 14].map(|kind| packet(kind, &with(std::slice::from_ref(&a), &parts.attrs))));
    all.extend([4, 7, 8, 11, 12, 13, 15, 16, 17, 19].map(|kind| packet(kind, &[U32(ID), a.clone()])));
    all
}

/// One reply of each type.
fn replies(parts: &Parts) -> Vec<Vec<u8>> {
    let (a, b) = (text(&parts.a), text(&parts.b));
    let entry = |attrs: &[Field]| [&[a.clone(), b.clone()], attrs].concat();
    vec![
        packet(2, &[U32(3), a.clone(), b.clone()]),
        packet(101, &with(&[U32(parts.number % 9), a.clone(), b.clone()], &[])),
        packet(102, &with(std::slice::from_ref(&a), &[])),
        packet(103, &with(std::slice::from_ref(&a), &[])),
        packet(104, &with(&[U32(2)], &[entry(&parts.attrs), entry(&parts.more)].concat())),
        packet(104, &with(&[U32(0)], &[])),
        packet(105, &with(&[], &parts.attrs)),
        packet(201, &with(&[Raw(parts.a.clone())], &[])),
    ]
}

proptest! {
    #[test]
    fn every_packet_crosses_russh_sftp_and_comes_back_as_it_was(parts in parts()) {
        for (inward, outward, packets) in [
            (Dialect::requests_in(LIMITS), Dialect::requests_out(LIMITS), requests(&parts)),
            (Dialect::replies_in(LIMITS), Dialect::replies_out(LIMITS), replies(&parts)),
        ] {
            for packet in packets {
                let inside = through(inward, &packet).unwrap();
                prop_assert_eq!(&through_russh_sftp(&inside), &inside);
                prop_assert_eq!(through(outward, &inside).unwrap(), packet);
            }
        }
    }

    #[test]
    fn a_packet_cut_short_is_refused_and_a_longer_one_is_not(parts in parts()) {
        for (dialect, packets) in [
            (Dialect::requests_in(LIMITS), requests(&parts)),
            (Dialect::replies_in(LIMITS), replies(&parts)),
        ] {
            for mut packet in packets {
                let kind = packet[4];
                let open_ended = [kind::EXTENDED, kind::EXTENDED_REPLY].contains(&kind);
                packet.pop();
                let length = packet.len() as u32 - 4;
                packet[..4].copy_from_slice(&length.to_be_bytes());
                if !open_ended {
                    prop_assert_eq!(through(dialect, &packet), Err(FrameError::Truncated { kind }));
                }
                if ![kind::INIT, kind::VERSION].contains(&kind) {
                    packet.extend_from_slice(&[0; 3]);
                    packet[..4].copy_from_slice(&(length + 3).to_be_bytes());
                    prop_assert!(open_ended || through(dialect, &packet).is_ok() || kind == kind::STATUS);
                }
            }
        }
    }

    #[test]
    fn garbage_is_bounded(
        length in prop_oneof![0u32..2100, any::<u32>()],
        kind in any::<u8>(),
        body in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..4, any::<u8>()], 0..2000),
    ) {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.push(kind);
        bytes.extend_from_slice(&body);
        for dialect in every_dialect() {
            let mut out = Vec::new();
            match dialect.step(&bytes, &mut out) {
                Ok(Step::Need(count)) => prop_assert!(count > bytes.len() && count <= 4 + length as usize),
                Ok(Step::Pass(count)) => prop_assert_eq!(count, 4 + length as usize),
                Ok(Step::Replace { consumed, rest }) => {
                    prop_assert_eq!(consumed + rest, 4 + length as usize);
                    prop_assert!(out.len() + rest <= 4 + LIMITS.inner_packet_bytes() as usize);
                    continue;
                }
                Err(_) => {}
            }
            prop_assert!(out.is_empty());
        }
    }

    #[test]
    fn a_packet_that_arrives_bit_by_bit_is_the_same_packet(parts in parts()) {
        for (dialect, packets) in [
            (Dialect::requests_in(LIMITS), requests(&parts)),
            (Dialect::replies_in(LIMITS), replies(&parts)),
        ] {
            for packet in packets {
                let (mut here, mut out) = (0, Vec::new());
                while let Step::Need(count) = dialect.step(&packet[..here], &mut out).unwrap() {
                    prop_assert!(count > here && count <= packet.len() && out.is_empty());
                    here = count;
                }
                let mut whole = Vec::new();
                dialect.step(&packet, &mut whole).unwrap();
                prop_assert_eq!(out, whole);
            }
        }
    }
}

#[test]
fn what_needs_no_change_passes_on_its_head_alone() {
    let check = |dialect: Dialect, packet: &[u8], head: usize| {
        let mut out = Vec::new();
        assert_eq!(dialect.step(&packet[..head], &mut out), Ok(Step::Pass(packet.len())));
        assert_eq!(out.capacity(), 0);
    };
    let data = text([0xff; 1000]);
    let write = packet(6, &[U32(ID), text("h1"), U64(0), data.clone()]);
    for dialect in [Dialect::requests_in, Dialect::requests_out] {
        check(dialect(LIMITS), &write, 27);
    }
    for dialect in [Dialect::replies_in, Dialect::replies_out] {
        check(dialect(LIMITS), &packet(103, &[U32(ID), data.clone()]), 13);
        check(dialect(LIMITS), &packet(201, &[U32(ID), data.clone()]), 9);
        let ok = packet(101, &[U32(ID), U32(0), text("Success"), text("")]);
        check(dialect(LIMITS), &ok, ok.len());
    }
}

#[test]
fn data_behind_a_handle_of_odd_bytes_is_not_waited_for() {
    let write = packet(6, &[U32(ID), text(b"\x00\x00\x00\xc3"), U64(0), text([0xff; 1000])]);
    let mut out = Vec::new();
    let step = Dialect::requests_in(LIMITS).step(&write[..29], &mut out);
    assert_eq!(step, Ok(Step::Replace { consumed: 29, rest: 1000 }));
    assert_eq!(out.len(), 30);
}

#[test]
fn statuses_become_what_version_3_knows() {
    let check = |before: &[Field], after: (u32, &str)| {
        let packet_in = packet(101, &[&[U32(ID)], before].concat());
        let inside = through(Dialect::replies_in(LIMITS), &packet_in).unwrap();
        let Packet::Status(status) = Packet::try_from(&mut Bytes::from(inside).split_off(4)).unwrap() else {
            panic!("no status")
        };
        assert_eq!((status.id, status.status_code as u32, &*status.error_message), (ID, after.0, after.1));
    };
    check(&[U32(4)], (4, ""));
    check(&[U32(8), text("no")], (8, "no"));
    check(&[U32(0), text(""), text("")], (0, ""));
    check(&[U32(11), text("exists"), text("en")], (4, "exists (status 11)"));
    check(&[U32(11), text(b"\xe9\xff"), text("en")], (4, "\u{e9}\u{ff} (status 11)"));
    check(&[U32(9), text("no")], (4, "no (status 9)"));
    check(&[U32(u32::MAX)], (4, "(status 4294967295)"));
}

#[test]
fn extended_attributes_are_taken_out_of_listings() {
    let plain = [U32(4), U32(0o644)];
    let extended = [U32(0x8000_0004), U32(0o644), U32(2), text("acl"), text(b"\xff"), text("x"), text("")];
    let listing = |first: &[Field]| {
        let names = [[text(b"a\xff"), text("-rw a")], [text("b"), text("-rw b")]];
        let fields = [&[U32(ID), U32(2)], &names[0][..], first, &names[1], &plain].concat();
        packet(104, &fields)
    };
    let dialect = Dialect::replies_in(LIMITS);
    let expected = through(dialect, &listing(&plain)).unwrap();
    assert_eq!(through(dialect, &listing(&extended)).unwrap(), expected);
    let setstat = |attrs: &[Field]| packet(9, &[&[U32(ID), text("f")], attrs].concat());
    assert_eq!(through(Dialect::requests_in(LIMITS), &setstat(&extended)), Ok(setstat(&plain)));
}

#[test]
fn an_unknown_request_keeps_its_id() {
    let check = |kind: u8| {
        let inside = through(Dialect::requests_in(LIMITS), &packet(kind, &[U32(ID), text("x")])).unwrap();
        let expected = packet(200, &[U32(ID), text(UNKNOWN_REQUEST), Raw(vec![kind])]);
        assert_eq!(inside, expected);
    };
    [0, 2, 21, 22, 99, 101, 103, 201, 255].into_iter().for_each(check);
}

#[test]
fn bad_packets_are_refused_before_anything_is_kept() {
    let check = |dialect: Dialect, bytes: &[u8], expected| {
        let mut out = Vec::new();
        assert_eq!(dialect.step(bytes, &mut out), Err(expected));
        assert_eq!(out.capacity(), 0);
    };
    let (requests, replies) = (Dialect::requests_in(LIMITS), Dialect::replies_in(LIMITS));
    for dialect in [requests, replies] {
        check(dialect, &[0; 4], FrameError::Empty);
        check(dialect, &[0xff; 4], FrameError::TooLong { length: u32::MAX, limit: 2000 });
        check(dialect, &2001u32.to_be_bytes(), FrameError::TooLong { length: 2001, limit: 2000 });
        check(dialect, b"Welcome", FrameError::Text { start: *b"Welc" });
    }
    check(replies, &packet(3, &[U32(ID)]), FrameError::Unexpected { kind: 3 });
    let endless = packet(104, &[U32(ID), U32(u32::MAX)]);
    check(replies, &endless, FrameError::Truncated { kind: 104 });
    let hollow = packet(103, &[U32(ID), U32(u32::MAX)]);
    check(replies, &hollow[..13], FrameError::Truncated { kind: 103 });
    let ours = packet(13, &[U32(ID), text("\u{20ac}")]);
    assert_eq!(through(Dialect::requests_out(LIMITS), &ours), Err(FrameError::NotLatin1 { kind: 13 }));
    let shown = packet(101, &[U32(ID), U32(4), text("\u{20ac}"), text("")]);
    let plain = packet(101, &[U32(ID), U32(4), text("?"), text("")]);
    assert_eq!(through(Dialect::replies_out(LIMITS), &shown), Ok(plain));
}

#[test]
fn a_refusal_is_a_status_with_the_id_of_the_request() {
    let request = packet(5, &[U32(ID), text("h")]);
    assert_eq!(request_id(&request), Some(ID));
    assert_eq!(request_id(&request[..8]), None);
    assert_eq!(request_id(&packet(1, &[U32(3)])), None);
    let refused = refusal(ID, &FrameError::Truncated { kind: 5 });
    assert_eq!(through_russh_sftp(&refused), refused);
    assert_eq!(refused[5..13], [0xfe, 0x80, 0, 1, 0, 0, 0, 5]);
}
