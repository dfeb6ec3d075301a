//! What the fuzz targets check, on the inputs that are kept and on what a few mutations make of them; and who is
//! meant by a line of known_hosts, held against `ssh-keygen`.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;

use highwater::clock::{Random, SeededRandom};
use highwater::remote::known_hosts::{HostName, lookup_in};

#[path = "../../fuzz/checks/mod.rs"]
mod checks;

/// Mutated inputs per target.
const CASES: u64 = 10_000;

/// Inputs grow no longer than this, in bytes.
const LONGEST: usize = 4096;

/// Numbers at which lengths and codes change their meaning.
const EDGES: [u32; 8] = [0, 1, 8, 0x7f, 0xff, 601, 0x7fff_ffff, u32::MAX];

/// The inputs that are kept for a target.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new("fuzz/seeds").join(target);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Runs a target's check on its seeds and on mutations of them, always the same ones.
fn check(target: &str, checked: fn(&[u8])) {
    let seeds = seeds(target);
    assert!(seeds.len() > 5, "where are the seeds of {target}?");
    let mut random = SeededRandom::new(seeds.len() as u64);
    let mutated = (0..CASES).map(|_| mutate(&seeds, &mut random)).collect::<Vec<_>>();
    for input in seeds.iter().chain(&mutated) {
        let outcome = catch_unwind(|| checked(input));
        assert!(outcome.is_ok(), "{target} fails with \"{}\"", input.escape_ascii());
    }
}

fn below(random: &mut SeededRandom, bound: usize) -> usize {
    (random.u64() % bound.max(1) as u64) as usize
}

/// One of the seeds with one to four changes.
fn mutate(seeds: &[Vec<u8>], random: &mut SeededRandom) -> Vec<u8> {
    let mut input = seeds[below(random, seeds.len())].clone();
    for _ in 0..=below(random, 4) {
        let at = below(random, input.len() + 1);
        let end = (at + below(random, 12)).min(input.len());
        let edge = EDGES[below(random, EDGES.len())].to_be_bytes();
        match random.u64() % 6 {
            0 if at < input.len() => input[at] ^= 1 << below(random, 8),
            1 if at < input.len() => input[at] = random.u64() as u8,
            2 => drop(input.splice(at..(at + 4).min(input.len()), edge)),
            3 => drop(input.drain(at..end)),
            4 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            _ => {
                let other = &seeds[below(random, seeds.len())];
                let from = below(random, other.len());
                input.splice(at..end, other[from..(from + below(random, 60)).min(other.len())].to_vec());
            }
        }
    }
    input.truncate(LONGEST);
    input
}

#[test]
fn any_bytes_pass_the_dialect_layer_or_are_refused() {
    check("dialect", checks::dialect::check);
}

#[test]
fn any_bytes_are_a_known_hosts_file() {
    check("known_hosts", checks::known_hosts::check);
}

#[test]
fn any_bytes_are_an_ssh_config() {
    check("ssh_config", checks::ssh_config::check);
}

/// Lists of names made of few letters, so that they often mean a host.
fn names(random: &mut SeededRandom) -> String {
    let parts = ["*", "?", "a", "b", "ab", ".", "A", "[a]:2", "!", "[*]:2", "**", "ab.a"];
    let name = |random: &mut SeededRandom| -> String {
        (0..=below(random, 3)).map(|_| parts[below(random, parts.len())]).collect()
    };
    (0..=below(random, 2)).map(|_| name(random)).collect::<Vec<_>>().join(",")
}

#[test]
fn a_line_of_known_hosts_means_whom_ssh_keygen_finds_in_it() {
    let mut random = SeededRandom::new(5);
    let lists: Vec<String> = (0..3000).map(|_| names(&mut random)).collect();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0DDTCuBAWEuQKEWKH6JtsXmaYrBq1NfNzhrMXjBGbD";
    let text: String = lists.iter().map(|names| format!("{names} {key}\n")).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &text).unwrap();
    for (host, port, typed) in [("ab.a", 22, "ab.a"), ("a", 2, "[a]:2"), ("b", 22, "b")] {
        let output = Command::new("ssh-keygen").args(["-F", typed, "-f"]).arg(file.path()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let theirs: Vec<&str> = said.lines().filter_map(|line| line.split("found: line ").nth(1)).collect();
        let name = HostName { without_port: None, ..HostName::new(host, port) };
        let found = lookup_in(text.as_bytes(), "f", &name).unwrap();
        let ours: Vec<&str> = found.iter().map(|entry| entry.place.split("line ").nth(1).unwrap()).collect();
        assert!(ours.len() > 50, "{} lines mean {typed}", ours.len());
        let theirs: Vec<&str> = theirs.iter().map(|line| line.trim()).collect();
        let differ = ours.iter().filter(|line| !theirs.contains(line));
        let differ: Vec<&&str> = differ.chain(theirs.iter().filter(|line| !ours.contains(line))).collect();
        let lines: Vec<&String> = differ.iter().map(|n| &lists[n.parse::<usize>().unwrap() - 1]).collect();
        assert_eq!(lines, [""; 0], "{typed}");
    }
}
