//! Defaults < file < environment < flags.

use spine_cluster_config::{Config, EngineKind, LogFormat, Sources};

fn sources(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> (tempfile::TempDir, Sources) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spine.toml");
    std::fs::write(&path, file).unwrap();
    let environment = environment
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let flags = flags.iter().map(|f| (*f).to_owned()).collect();
    (
        dir,
        Sources {
            file: Some(path),
            environment,
            flags,
        },
    )
}

#[test]
fn each_source_is_stronger_than_the_one_before() {
    let file = "[node]\nname = \"file\"\n[telemetry]\nlog_level = \"warn\"\nlog_format = \"json\"\n";
    let (_dir, sources) = sources(
        file,
        &[
            ("SPINE_NODE__NAME", "environment"),
            ("SPINE_TELEMETRY__LOG_LEVEL", "error"),
        ],
        &["node.name=flag"],
    );
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.node.name, "flag");
    assert_eq!(config.telemetry.log_level, "error");
    assert_eq!(config.telemetry.log_format, LogFormat::Json);
    assert_eq!(config.storage, Config::default().storage);
}

#[test]
fn text_becomes_the_type_of_its_key() {
    let (_dir, sources) = sources(
        "",
        &[
            ("SPINE_CLUSTER__SEEDS", "a:1, b:2"),
            ("SPINE_STORAGE__LOG_CACHE_BYTES", "33_554_432"),
        ],
        &["storage.engine=fjall", "raft.log_keep_entries = 5"],
    );
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.cluster.seeds, ["a:1", "b:2"]);
    assert_eq!(config.storage.log_cache_bytes, 32 << 20);
    assert_eq!(config.storage.engine, EngineKind::Fjall);
    assert_eq!(config.raft.log_keep_entries, 5);
}

#[test]
fn variables_of_other_programs_are_passed_over() {
    let (_dir, sources) = sources(
        "",
        &[("SPINE_ENDPOINTS", "http://[::1]:1"), ("LISTEN__GRPC", "x")],
        &[],
    );
    assert_eq!(Config::load(&sources).unwrap(), Config::default());
}

#[test]
fn a_later_flag_wins() {
    let (_dir, sources) = sources("", &[], &["node.name=one", "node.name=two"]);
    assert_eq!(Config::load(&sources).unwrap().node.name, "two");
}
