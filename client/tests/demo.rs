//! The demo against nodes that do not replicate: it must see the loss, and always clean up.

mod fake;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use fake::{Fake, Reply};
use serde_json::Value;
use spine_proto::admin::v1::Health;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Names the settings file of a node that this test program plays itself.
const ROLE: &str = "FORGETFUL_NODE_SETTINGS";

/// Not a test: a node that keeps what it is told in its own memory only. Does nothing unless started
/// as such.
#[tokio::test]
async fn forgetful_node() {
    let Ok(settings) = std::env::var(ROLE) else { return };
    let text = std::fs::read_to_string(settings).unwrap();
    let address = text
        .lines()
        .find_map(|line| line.strip_prefix("grpc = "))
        .unwrap()
        .trim_matches('"');
    let fake = Fake::new(&[address]);
    fake.always(address, Reply::Serve);
    fake.store.lock().health = Health::Healthy.into();
    fake.serve_tcp(address).await;
    std::future::pending::<()>().await;
}

/// A program that starts this one as a node.
fn node_binary(dir: &Path) -> PathBuf {
    let path = dir.join("forgetful-node");
    let own = std::env::current_exe().expect("this program");
    let script = format!(
        "#!/bin/sh\n{ROLE}=\"$2\" exec {} --exact forgetful_node --nocapture\n",
        own.display()
    );
    std::fs::write(&path, script).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a program");
    path
}

fn demo(dir: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_spinectl"));
    command.args([
        "demo",
        "--seconds",
        "3",
        "--clients",
        "4",
        "--output",
        "json",
        "--principal",
        "tester",
    ]);
    command
        .arg("--node-binary")
        .arg(node_binary(dir))
        .env("TMPDIR", dir);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Only the script is left, and none of the processes that the demo named.
fn assert_clean(dir: &Path, talk: &str) {
    let left: Vec<_> = std::fs::read_dir(dir)
        .expect("the directory")
        .filter_map(Result::ok)
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let processes: Vec<&str> = talk
        .lines()
        .filter_map(|line| line.split_once("(process ")?.1.strip_suffix(')'))
        .collect();
    assert_eq!(processes.len(), 3, "{talk}");
    for process in processes {
        assert!(
            !Path::new("/proc").join(process).exists(),
            "process {process} is left"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_write_fails_the_demo() {
    let dir = tempfile::tempdir().unwrap();
    let Output {
        status,
        stdout,
        stderr,
    } = demo(dir.path()).output().await.unwrap();
    let talk = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{talk}");
    let report: Value = serde_json::from_slice(&stdout).unwrap_or_else(|_| panic!("{talk}"));
    let writes = report["writes_acknowledged"].as_u64().unwrap();
    assert!(writes > 50, "{report}");
    assert!(report["writes_lost"].as_u64().unwrap() >= writes, "{report}");
    assert_eq!(report["calls_failed"], 0, "{report}");
    assert_clean(dir.path(), &talk);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_demo_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = demo(dir.path()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut talk = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        talk.push_str(&format!("{line}\n"));
        if line.contains("callers write and read") {
            break;
        }
    }
    let process = i32::try_from(child.id().unwrap()).unwrap();
    let process = rustix::process::Pid::from_raw(process).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    let begun = Instant::now();
    let status = child.wait().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(status.code(), Some(1));
    assert_clean(dir.path(), &talk);
}
