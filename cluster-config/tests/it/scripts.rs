//! The scripts refuse before they build, start or delete anything. That they work on a real cluster is
//! proved by the row `start-stop` of the acceptance program.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

fn run(script: &str, arguments: &[&str]) -> Output {
    Command::new("bash")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
        .args(arguments)
        // Nothing may be built: without a PATH to cargo a build would fail with another message.
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap()
}

fn refusal(script: &str, arguments: &[&str]) -> (i32, String) {
    let output = run(script, arguments);
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// A base port with a port of the first node taken; the listener holds it.
fn taken_base() -> (TcpListener, u16) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if (2_000..60_000).contains(&port) {
            return (listener, port - 1);
        }
    }
}

#[test]
fn a_taken_port_is_refused_before_anything_is_made() {
    let (listener, base) = taken_base();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (code, text) = refusal(
        "start.sh",
        &["--data", data.to_str().unwrap(), "--base-port", &base.to_string()],
    );
    let port = listener.local_addr().unwrap().port().to_string();
    assert_eq!(code, 1, "{text}");
    assert!(text.starts_with("start.sh: in use on 127.0.0.1: port "), "{text}");
    assert!(
        text.contains(&port) && text.contains("nothing was started"),
        "{text}"
    );
    assert!(!data.exists());
}

#[test]
fn a_directory_of_somebody_else_is_never_deleted() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
    let data = dir.path().to_str().unwrap();
    let (code, text) = refusal("start.sh", &["--data", data, "--fresh"]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("holds something that start.sh did not make"),
        "{text}"
    );
    assert!(dir.path().join("thesis.txt").exists());
    let (code, text) = refusal("stop.sh", &["--data", data]);
    assert_eq!(code, 1);
    assert!(text.contains("there is no local cluster in"), "{text}");
}

#[test]
fn a_kept_cluster_keeps_its_shape() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join(".spine-local-cluster"),
        "spine local cluster 1\nnodes=3\nbase_port=7400\n",
    )
    .unwrap();
    let data = dir.path().to_str().unwrap();
    let (code, text) = refusal("start.sh", &["--data", data, "--nodes", "5"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("has 3 nodes, not 5; --fresh begins anew"), "{text}");
}

#[test]
fn stop_signals_no_process_but_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let node = dir.path().join("node-1");
    fs::create_dir(&node).unwrap();
    fs::write(dir.path().join(".spine-local-cluster"), "spine local cluster 1\n").unwrap();
    // This very process, with a start time and a program that are not its own: a process id that was used again.
    fs::write(
        node.join("node.pid"),
        format!("{}\n1\n/nowhere/spine-node\n", std::process::id()),
    )
    .unwrap();
    let output = run("stop.sh", &["--data", dir.path().to_str().unwrap()]);
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .ends_with("is running\n")
    );
}

#[test]
fn wrong_use_is_told_apart() {
    for (script, arguments) in [
        ("start.sh", &["--nodes", "0"][..]),
        ("start.sh", &["--nodes", "many"]),
        ("start.sh", &["--base-port", "80"]),
        ("start.sh", &["--patients", "-1"]),
        ("start.sh", &["--colour"]),
        ("stop.sh", &["--timeout", "long"]),
        ("stop.sh", &["--colour"]),
        ("restart-node.sh", &["--timeout", "long"]),
        ("restart-node.sh", &["--colour"]),
        ("rolling-restart.sh", &["--colour"]),
        ("build-dist.sh", &["--base-port", "80"]),
        ("build-dist.sh", &["--seconds", "0"]),
        ("build-dist.sh", &["--colour"]),
    ] {
        let (code, text) = refusal(script, arguments);
        assert_eq!(code, 2, "{script} {arguments:?}: {text}");
    }
    for script in [
        "start.sh",
        "stop.sh",
        "restart-node.sh",
        "rolling-restart.sh",
        "build-dist.sh",
    ] {
        assert!(run(script, &["--help"]).status.success(), "{script}");
    }
}

/// A directory that start.sh made, with one node whose process is no more.
fn stopped_cluster() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let node = dir.path().join("node-1");
    fs::create_dir(&node).unwrap();
    fs::write(dir.path().join(".spine-local-cluster"), "spine local cluster 1\n").unwrap();
    fs::write(node.join("spine.toml"), "[listen]\ngrpc = \"127.0.0.1:7401\"\n").unwrap();
    dir
}

#[test]
fn a_node_is_restarted_only_where_it_is_known_which_and_as_what() {
    let dir = stopped_cluster();
    let data = dir.path().to_str().unwrap();
    let empty = tempfile::tempdir().unwrap();
    for (arguments, code, why) in [
        (
            &["--data", empty.path().to_str().unwrap(), "1"][..],
            1,
            "no local cluster",
        ),
        (&["--data", data], 2, "which node?"),
        (&["--data", data, "2"], 2, "there is no node 2"),
        (&["--data", data, "../node-1"], 2, "there is no node"),
        (&["--data", data, "1"], 2, "which program?"),
        (
            &["--data", data, "--binary", "/nowhere/spine-node", "1"],
            1,
            "/nowhere",
        ),
    ] {
        let (said, text) = refusal("restart-node.sh", arguments);
        assert_eq!(said, code, "{arguments:?}: {text}");
        assert!(text.contains(why), "{arguments:?}: {text}");
    }
    let (code, text) = refusal("rolling-restart.sh", &["--data", data]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("no node of"), "{text}");
}

#[test]
fn a_node_that_ends_as_it_starts_is_told_with_its_log() {
    let dir = stopped_cluster();
    let program = dir.path().join("spine-node");
    fs::write(&program, "#!/bin/sh\necho no such setting\nexit 2\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&program, executable).unwrap();
    let data = dir.path().to_str().unwrap();
    let arguments = ["--data", data, "--binary", program.to_str().unwrap(), "1"];
    let (code, text) = refusal("restart-node.sh", &arguments);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("no such setting"), "{text}");
    assert!(text.contains("node-1 ended while it started"), "{text}");
}

#[test]
fn a_node_that_starts_under_another_address_is_named_there() {
    let dir = stopped_cluster();
    let second = dir.path().join("node-2");
    fs::create_dir(&second).unwrap();
    fs::write(second.join("spine.toml"), "[listen]\ngrpc = \"127.0.0.1:7422\"\n").unwrap();
    let named = dir.path().join("cluster.env");
    let names = |second: &str| format!("export SPINE_ENDPOINTS=127.0.0.1:7401,{second},127.0.0.1:7403\n");
    fs::write(&named, names("127.0.0.1:7402")).unwrap();
    for (node, after) in [
        ("1", "127.0.0.1:7402"),
        ("2", "127.0.0.1:7422"),
        ("2", "127.0.0.1:7422"),
    ] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("local.sh");
        let done = Command::new("bash")
            .args(["-euc", "source \"$0\"; note_address \"$1\" \"$2\""])
            .arg(script)
            .arg(dir.path())
            .arg(node)
            .status();
        assert!(done.unwrap().success());
        assert_eq!(fs::read_to_string(&named).unwrap(), names(after), "node-{node}");
    }
}
