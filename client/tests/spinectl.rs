//! The program as a shell sees it: exit codes, data on stdout, talk on stderr.

mod fake;

use std::process::Output;

use fake::{Fake, Reply};
use serde_json::Value;
use spine_proto::admin::v1::Health;
use spine_proto::common::v1::Advice;
use tonic::Code;

struct Shell {
    fake: Fake,
    address: String,
    dir: tempfile::TempDir,
}

impl Shell {
    async fn new() -> Self {
        let fake = Fake::new(&["a:1"]);
        let address = fake.serve_tcp("a:1").await;
        Self {
            fake,
            address,
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_spinectl"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("SPINE_ENDPOINTS", &self.address);
        command
            .env("SPINE_PRINCIPAL", "tester")
            .output()
            .await
            .expect("spinectl runs")
    }

    /// Exit code and stdout.
    async fn says(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments).await;
        (
            output.status.code().expect("an exit code"),
            String::from_utf8(output.stdout).expect("text"),
        )
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let (code, text) = self.says(&[arguments, &["--output", "json"]].concat()).await;
        assert_eq!(code, 0, "{arguments:?}: {text}");
        serde_json::from_str(&text).expect("JSON on stdout")
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_have_their_exit_codes() {
    let shell = Shell::new().await;
    let cases = [
        (Code::Internal, Advice::Operator, "INTERNAL", 1),
        (Code::InvalidArgument, Advice::FixRequest, "INVALID_NHS_NUMBER", 2),
        (Code::NotFound, Advice::FixRequest, "NOT_FOUND", 3),
        (Code::Aborted, Advice::ReadAgain, "VERSION_MISMATCH", 4),
        (Code::Aborted, Advice::FixRequest, "REQUEST_ID_REUSED", 4),
        (Code::PermissionDenied, Advice::FixRequest, "FORBIDDEN", 7),
    ];
    for (code, advice, reason, exit) in cases {
        shell.fake.script("a:1", [Reply::Refuse(code, advice, reason)]);
        let output = shell.run(&["patient", "get", "9990000018"]).await;
        assert_eq!(output.status.code(), Some(exit), "{reason}");
        assert!(output.stdout.is_empty(), "stdout is for data");
        assert!(String::from_utf8_lossy(&output.stderr).contains(reason));
    }
    assert_eq!(shell.says(&["patient"]).await.0, 2, "usage");
    assert_eq!(shell.says(&["records", "get", "NOTHING"]).await.0, 3);
    assert_eq!(shell.says(&["patient", "load", "no-such-file"]).await.0, 3);
    let dead = [
        "--endpoints",
        "127.0.0.1:1",
        "--timeout",
        "300ms",
        "records",
        "get",
        "K",
    ];
    assert_eq!(shell.says(&dead).await.0, 5);
    shell.fake.always("a:1", Reply::Hang);
    assert_eq!(
        shell.says(&["--timeout", "300ms", "records", "get", "K"]).await.0,
        6
    );
    let put = ["--timeout", "300ms", "records", "commit", "K", "--put", "s=v"];
    assert_eq!(shell.says(&put).await.0, 6, "unknown outcome");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_status_has_codes_of_its_own() {
    let shell = Shell::new().await;
    for (health, exit) in [
        (Health::Healthy, 0),
        (Health::Degraded, 1),
        (Health::NotServing, 2),
    ] {
        shell.fake.store.lock().health = health.into();
        assert_eq!(shell.says(&["cluster", "status"]).await.0, exit);
    }
    let (code, text) = shell
        .says(&[
            "cluster",
            "status",
            "--output",
            "json",
            "--endpoints",
            "127.0.0.1:1",
        ])
        .await;
    assert_eq!(code, 2);
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap()["health"],
        "not serving"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_is_initialised_read_and_moved_in_time() {
    let shell = Shell::new().await;
    assert_eq!(shell.json(&["cluster", "init"]).await["already"], false);
    assert_eq!(
        shell.json(&["cluster", "init", "--peers", "x:1,y:1"]).await["nodes"],
        2
    );
    assert_eq!(
        shell
            .json(&["cluster", "time", "--advance", "15m", "--node", &shell.address])
            .await["log_time_ms"],
        901_000
    );
    assert_eq!(shell.json(&["cluster", "time"]).await["log_time_ms"], 1_000);
    assert_eq!(shell.json(&["node", "status"]).await[0]["reachable"], true);
    assert_eq!(shell.json(&["shard", "list"]).await[0]["leader_node_id"], 1);
    let (code, text) = shell.says(&["shard", "list"]).await;
    assert_eq!(code, 0);
    assert!(
        text.starts_with("SHARD") || text.trim_start().starts_with("SHARD"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_go_in_and_come_out_as_they_are() {
    let shell = Shell::new().await;
    let file = shell.file("value", "from a file\n");
    let put = format!("s2=@{file}");
    let args = [
        "records",
        "commit",
        "K",
        "--put",
        "s1=one",
        "--put",
        &put,
        "--if-absent",
        "s1",
    ];
    assert_eq!(shell.json(&args).await["revision"], 1);
    assert_eq!(shell.says(&args).await.0, 4, "the guard does not hold any more");
    assert_eq!(
        shell.says(&["records", "get", "K", "s2"]).await,
        (0, "from a file\n".to_owned())
    );
    let list = shell.json(&["records", "list", "K"]).await;
    assert_eq!(list.as_array().unwrap().len(), 2);
    let (code, events) = shell
        .says(&[
            "records", "watch", "K", "--from", "5", "--limit", "3", "--output", "json",
        ])
        .await;
    assert_eq!(code, 0);
    let indexes: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["index"].clone())
        .collect();
    assert_eq!(indexes, [5, 6, 7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_with_bad_lines_ends_as_a_partial_success() {
    let shell = Shell::new().await;
    let bad = shell.file("bad.ndjson", "good\nbad\n\ngood\n");
    let output = shell.run(&["patient", "load", &bad, "--output", "json"]).await;
    assert_eq!(output.status.code(), Some(8));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["registered"], &report["failed"]), (&2.into(), &1.into()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 2: INVALID_NHS_NUMBER"));
    let good = shell.file("good.ndjson", "good\ngood\n\n\ngood");
    let report = shell.json(&["patient", "load", &good]).await;
    assert_eq!(
        (&report["registered"], &report["replayed"]),
        (&2.into(), &1.into())
    );
    assert_eq!(shell.json(&["patient", "load", &good]).await["replayed"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bench_refuses_to_call_writes_without_fsync_a_result() {
    let shell = Shell::new().await;
    let args = [
        "bench",
        "--clients",
        "2",
        "--seconds",
        "1",
        "--mix",
        "put",
        "--output",
        "json",
    ];
    let output = shell.run(&args).await;
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["rows"]["put"]["ops"].as_u64().unwrap() > 0);
    let reads = [
        "bench",
        "--clients",
        "2",
        "--seconds",
        "1",
        "--mix",
        "get",
        "--keys",
        "10",
    ];
    assert_eq!(shell.says(&reads).await.0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_and_completions_are_written() {
    let shell = Shell::new().await;
    let output = shell.run(&["proto", "export"]).await;
    assert_eq!(output.stdout, spine_proto::DESCRIPTORS);
    for name in ["bash", "zsh", "fish"] {
        let (code, text) = shell.says(&["completions", name]).await;
        assert_eq!(code, 0);
        assert!(text.contains("spinectl"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_seed_gives_one_population() {
    let shell = Shell::new().await;
    let generate = ["population", "generate", "--count", "1203", "--seed", "9"];
    let (code, first) = shell.says(&generate).await;
    assert_eq!((code, first.lines().count()), (0, 1_203));
    for line in first.lines().take(10) {
        let patient: Value = serde_json::from_str(line).unwrap();
        assert_eq!(patient["resourceType"], "Patient");
    }
    let file = shell.dir.path().join("p.ndjson");
    let to_file = [&generate[..], &["--out", file.to_str().unwrap()]].concat();
    assert_eq!(shell.says(&to_file).await, (0, String::new()));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), first);
    let other = ["population", "generate", "--count", "1203", "--seed", "10"];
    assert_ne!(shell.says(&other).await.1, first);
}

impl Shell {
    /// A program that says this of itself.
    fn program(&self, name: &str, version: &str) -> String {
        let path = self.file(name, &format!("#!/bin/sh\ncat <<'END'\n{version}\nEND\n"));
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, executable).expect("a program");
        path
    }
}

const VERSION: &str = "spine-node 9.9.9\ncommit abc\nstored format 1\nwire 1 to 1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_is_planned_and_refused_before_anything_is_done() {
    let shell = Shell::new().await;
    let new = shell.program("new-node", VERSION);
    // The pretended cluster has one node and says nothing of its disk.
    let (code, text) = shell.says(&["upgrade", "plan", "--binary", &new]).await;
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("to release 9.9.9 of commit abc"), "{text}");
    assert!(text.contains("could not do without one"), "{text}");
    let apply = ["upgrade", "apply", "--binary", &new, "--hook", "touch hooked"];
    let refused = shell.run(&apply).await;
    assert_eq!(refused.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no node was restarted"));
    assert!(!shell.dir.path().join("hooked").exists());
    assert_eq!(shell.says(&["upgrade", "status"]).await.0, 3, "nothing is noted");
    assert_eq!(shell.says(&["upgrade", "rollback", "--hook", "true"]).await.0, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_is_finalized_once_and_then_has_no_way_back() {
    let shell = Shell::new().await;
    let old = shell.program("old-node", VERSION);
    let state = |phase: &str| {
        format!(
            "{{\"format\":1,\"cluster_id\":\"c1\",\"from\":\"{old}\",\"to\":\"/new\",\"done\":[1],\
             \"under_way\":null,\"phase\":\"{phase}\"}}"
        )
    };
    shell.file("spine-upgrade.json", &state("forward"));
    assert_eq!(
        shell.says(&["upgrade", "finalize"]).await.0,
        4,
        "it has not ended"
    );
    {
        let mut store = shell.fake.store.lock();
        store.health = Health::Healthy.into();
        store.advertised = Some(shell.address.clone());
    }
    shell.file("spine-upgrade.json", &state("done"));
    for raised in [1, 0] {
        let done = shell.json(&["upgrade", "finalize"]).await;
        assert_eq!(done["level"], 2);
        assert_eq!(done["shards_raised"].as_array().map(Vec::len), Some(raised));
    }
    assert_eq!(shell.json(&["upgrade", "status"]).await["phase"], "finalized");
    let (code, text) = shell.says(&["cluster", "status"]).await;
    assert!(text.contains("level 2"), "{code} {text}");
    let back = ["upgrade", "rollback", "--hook", "touch hooked"];
    let refused = async || {
        let output = shell.run(&back).await;
        assert_eq!(output.status.code(), Some(4));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = refused().await;
    assert!(
        text.contains("finalized at level 2: there is no way back"),
        "{text}"
    );
    // A tool that ended before it could note that is no way round it: the shards know.
    shell.file("spine-upgrade.json", &state("done"));
    let text = refused().await;
    let why =
        "level 2 is in force and the program of release 9.9.9 knows levels 0 to 1: there is no way back";
    assert!(text.contains(why), "{text}");
    assert!(!shell.dir.path().join("hooked").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_node_or_no_progress_is_refused() {
    let shell = Shell::new().await;
    let other = shell.program("other", "bash 5");
    assert_eq!(shell.says(&["upgrade", "plan", "--binary", &other]).await.0, 2);
    assert_eq!(shell.says(&["upgrade", "plan", "--binary", "nowhere"]).await.0, 3);
    shell.file("spine-upgrade.json", "rubbish");
    assert_eq!(shell.says(&["upgrade", "status"]).await.0, 1);
    let under_way = "{\"format\":1,\"cluster_id\":\"c1\",\"from\":null,\"to\":\"/other\",\"done\":[1],\
                     \"under_way\":null,\"phase\":\"forward\"}";
    shell.file("spine-upgrade.json", under_way);
    let new = shell.program("new-node", VERSION);
    let second = ["upgrade", "apply", "--binary", &new, "--hook", "true"];
    assert_eq!(shell.says(&second).await.0, 4, "another has not ended");
    assert_eq!(
        shell.says(&["upgrade", "rollback", "--hook", "true"]).await.0,
        4,
        "no way back"
    );
    let status = shell.json(&["upgrade", "status"]).await;
    assert_eq!(
        (&status["phase"], &status["nodes_done"][0]),
        (&"under way".into(), &1.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_patient_is_told_from_one_who_is_there() {
    let shell = Shell::new().await;
    let (new, alike) = (shell.file("new.json", "{}"), shell.file("alike.json", "alike"));
    let allocate = |file: &str, more: &[&str]| {
        let mut arguments = vec!["patient".to_owned(), "allocate".to_owned(), file.to_owned()];
        arguments.extend(more.iter().map(|text| (*text).to_owned()));
        arguments
    };
    let cases: [(&str, &[&str], i32, &str); 5] = [
        (&new, &["--request-id", "r"], 0, "9990000026 version 1\n"),
        (
            &new,
            &["--if-none", "identifier=9990000026"],
            0,
            "9990000026 exists, version 1\n",
        ),
        (
            &new,
            &["--if-none", "a=1", "--if-none", "b=2", "--if-none", "c=3"],
            4,
            "",
        ),
        (&new, &["--if-none", "a"], 2, ""),
        (
            &alike,
            &["--national"],
            4,
            "not created: somebody alike has 9990000018\n",
        ),
    ];
    for (file, more, code, said) in cases {
        let arguments = allocate(file, more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_eq!(shell.says(&arguments).await, (code, said.to_owned()), "{more:?}");
    }
    let told = ["patient", "death", "9990000026", "removed", "--if-version", "3"];
    assert_eq!(shell.says(&told).await, (0, "9990000026 version 4\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_tells_who_matches_nobody_and_too_many() {
    let shell = Shell::new().await;
    let found = shell
        .json(&["patient", "search", "family=Hill", "birthdate=eq1990-01-01"])
        .await;
    let scores: Vec<&Value> = (0..2).map(|at| &found[at]["score"]).collect();
    assert_eq!(scores, [&1.0.into(), &Value::from(0.85)]);
    assert_eq!(found[1]["nhs_number"], "9990000018");
    let code = async |criterion| shell.says(&["patient", "search", criterion]).await.0;
    assert_eq!(code("family=None").await, 3);
    assert_eq!(code("family=Many").await, 4);
    assert_eq!(code("family").await, 2);
}
