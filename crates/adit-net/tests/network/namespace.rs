//! Tests that need a network of their own: multicast, or addresses that count as public.

use std::{
    env,
    io::Write,
    process::{Command, Stdio},
};

use crate::nodes::PATIENCE;

/// Set for the process that runs inside.
const INSIDE: &str = "ADIT_TEST_NAMESPACE";

/// Runs a test of this binary, by its full name, in a process of its own within a new network
/// namespace, which `addresses` are given to. They lie on the loopback interface, the only one that
/// every kernel has; it is told to do multicast. Without the right to make a namespace the test is
/// skipped, except in CI.
pub(crate) fn in_namespace(test: &str, addresses: &[&str], body: impl Future<Output = ()>) {
    if env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let body = async { tokio::time::timeout(2 * PATIENCE, body).await.expect("the test ends") };
        return runtime.unwrap().block_on(body);
    }
    let mut setup = "set -e; ip link set lo up; ip link set lo multicast on; ".to_owned();
    for address in addresses {
        setup.push_str(&format!("ip addr add {address} dev lo; "));
    }
    setup.push_str("ip route add 224.0.0.0/4 dev lo; ");
    let possible = unshare(&setup).output().map_err(|e| e.to_string());
    let refused = possible.and_then(|output| match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    });
    if let Err(why) = refused {
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "no network namespace for {test}: {why}");
        // Not with a macro: their output is swallowed when a test passes.
        let _ = writeln!(std::io::stderr(), "test {test} ... SKIPPED, no network namespace: {why}");
        return;
    }
    let run = unshare(&format!("{setup} exec \"$0\" --exact --include-ignored --nocapture \"$1\""))
        .arg(env::current_exe().unwrap())
        .arg(test)
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let output = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    println!("{output}");
    assert!(run.status.success(), "{test} failed within its namespace");
    assert!(output.contains("1 passed"), "no test is called {test}");
}

/// A shell script in a new network namespace, as its root.
fn unshare(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--map-root-user", "sh", "-c", script]).stdin(Stdio::null());
    command
}
