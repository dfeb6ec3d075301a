//! A taste of each campaign of `examples/torture`: a few small cases, always the same ones.

use std::process::Command;

/// Runs the program that `cargo test` and `cargo nextest run` build beside the tests.
fn taste(campaign: &str) {
    let highwater = assert_cmd::cargo::cargo_bin!("highwater");
    let torture = highwater.with_file_name("examples").join("torture");
    assert!(torture.exists(), "it is not built: cargo build --example torture");
    let mut command = Command::new(torture);
    command.args(["--short", "--seed", "7", "--at-once", "2", "--campaign", campaign]);
    command.arg("--highwater").arg(highwater);
    let output = command.output().expect("it can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("{campaign}: ")), "{said}");
}

#[test]
fn connections_are_cut() {
    taste("cuts");
}

#[test]
fn the_program_is_killed() {
    taste("kills");
}

#[cfg(feature = "crash-points")]
#[test]
fn the_program_crashes_between_two_steps() {
    taste("crashes");
}

#[test]
fn the_server_s_processes_are_killed() {
    taste("server-kills");
}

#[test]
fn disks_are_full_or_refuse() {
    taste("disks");
}

#[test]
fn journals_are_damaged() {
    taste("journals");
}

#[test]
fn listings_lie() {
    taste("listings");
}

#[test]
fn keys_are_exchanged_again_and_again() {
    taste("rekeys");
}
