//! Simulations of one process run one after the other, so that each is what its seed says. A test gets a process of its
//! own; then as many run as there are processors.

use std::env;
use std::process::Command;

/// Set where a test is the only one of its process.
const ALONE: &str = "SPINE_TEST_ALONE";

/// Runs the calling test in a process of its own, and fails if that does.
pub(crate) fn alone(test: impl FnOnce()) {
    let thread = std::thread::current();
    // Tests that run one after the other run on the main thread, and need no other process.
    let name = thread.name().filter(|name| name.contains("::"));
    let Some(name) = name.filter(|_| env::var_os(ALONE).is_none()) else {
        return test();
    };
    let program = env::current_exe().expect("the path of this program");
    let output = Command::new(program)
        .args([name, "--exact", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .expect("this program, started again");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("test result: ok. 1 passed"),
        "{name}: {}\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
