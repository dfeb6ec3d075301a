//! Sessions with a server that lies, drawn from a seed: a taste of `examples/hostile`, always the same one.

use std::process::Command;

#[test]
fn whatever_a_server_says_nothing_outside_is_touched_and_nothing_is_lost() {
    let highwater = assert_cmd::cargo::cargo_bin!("highwater");
    let hostile = highwater.with_file_name("examples").join("hostile");
    assert!(hostile.exists(), "it is not built: cargo build --example hostile");
    let mut command = Command::new(hostile);
    command.args(["--sessions", "100", "--seed", "7", "--at-once", "16"]).arg("--highwater").arg(highwater);
    let output = command.output().expect("it can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("100 sessions") && said.contains("0 failed"), "{said}");
}
