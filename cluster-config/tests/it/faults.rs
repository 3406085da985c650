//! The text of faults is read by people in a hurry, so it is compared literally.

use std::path::{Path, PathBuf};

use spine_cluster_config::{Config, Sources};

fn faults_of(text: &str) -> String {
    Config::parse(Path::new("spine.toml"), text)
        .unwrap_err()
        .to_string()
}

#[test]
fn all_faults_come_at_once() {
    let text = r#"
colour = "blue"

[listen]
grcp = "127.0.0.1:1"
peer = "127.0.0.1:9000"
admin = "127.0.0.1:9000"

[storage]
engine = "slead"
min_free_bytes = "1 GiB"
segment_bytes = 5

[raft]
leader_lease_ms = -3

[telemtry]
log_level = "info"
"#;
    assert_eq!(
        faults_of(text),
        "the configuration has 8 faults:
  colour: unknown key (spine.toml)
  listen.grcp: unknown key; did you mean listen.grpc? (spine.toml)
  raft.leader_lease_ms: -3 is negative (spine.toml)
  storage.engine: \"slead\" is none of \"sled\", \"fjall\"; did you mean \"sled\"? (spine.toml)
  storage.min_free_bytes: expected a whole number, found string (spine.toml)
  telemtry: unknown section; did you mean telemetry? (spine.toml)
  listen.admin: \"127.0.0.1:9000\" is also listen.peer; each needs its own (spine.toml)
  storage.segment_bytes: 5 is out of range; 8388608 to 1073741824 are allowed (spine.toml)"
    );
}

#[test]
fn a_key_in_the_wrong_section_is_recognised() {
    assert_eq!(
        faults_of("data_dir = \"x\"\n[listen]\nseeds = []\n"),
        "the configuration has 2 faults:
  data_dir: unknown key; did you mean node.data_dir? (spine.toml)
  listen.seeds: unknown key; did you mean cluster.seeds? (spine.toml)"
    );
}

#[test]
fn production_refuses_the_development_principal() {
    assert_eq!(
        faults_of("[security]\nmode = \"production\"\ndevelopment_principal = \"me\"\n"),
        "the configuration has 1 fault:
  security.development_principal: is refused in production mode; remove it (spine.toml)"
    );
    // Production is the default, so that nobody gets plain text by leaving something out.
    assert!(faults_of("[security]\ndevelopment_principal = \"me\"\n").contains("refused in production mode"));
}

#[test]
fn production_never_plays_another_release() {
    let previous = "[development]\nprevious_release = true\n";
    assert_eq!(
        faults_of(previous),
        "the configuration has 1 fault:
  development.previous_release: is refused in production mode; remove it (spine.toml)"
    );
    let development = format!("{previous}[security]\nmode = \"development\"\n");
    let config = Config::parse(Path::new("spine.toml"), &development).unwrap();
    assert!(config.warnings()[1].contains("the release before this one"));
}

#[test]
fn production_never_lets_replicas_be_altered() {
    let tamper = "[development]\ntamper = true\n";
    assert_eq!(
        faults_of(tamper),
        "the configuration has 1 fault:
  development.tamper: is refused in production mode; remove it (spine.toml)"
    );
    let development = format!("{tamper}[security]\nmode = \"development\"\n");
    let config = Config::parse(Path::new("spine.toml"), &development).unwrap();
    assert!(config.warnings()[1].contains("alter single replicas"));
}

#[test]
fn production_refuses_a_dial_map() {
    let dial = "[development]\ndial = [\"127.0.0.1:1=127.0.0.1:2\"]\n";
    assert_eq!(
        faults_of(dial),
        "the configuration has 1 fault:
  development.dial: is refused in production mode; remove it (spine.toml)"
    );
    let development = format!("{dial}[security]\nmode = \"development\"\n");
    let config = Config::parse(Path::new("spine.toml"), &development).unwrap();
    assert_eq!(config.development.dial_map()["127.0.0.1:1"], "127.0.0.1:2");
    assert!(config.warnings()[1].contains("other addresses"));
}

#[test]
fn a_dial_map_is_explained() {
    let text = "[security]\nmode = \"development\"\n[development]\n\
                dial = [\"a:1\", \"a:1=b:0\", \"a:1=b:2\"]\n";
    assert_eq!(
        faults_of(text),
        "the configuration has 3 faults:
  development.dial: \"a:1\": write it as peer=instead (spine.toml)
  development.dial: \"b:0\": nobody can connect to port 0 (spine.toml)
  development.dial: \"a:1\" stands there twice (spine.toml)"
    );
}

#[test]
fn addresses_are_explained() {
    let text = r#"
[listen]
grpc = "7400"
peer = "0.0.0.0:7500"
admin = "::1:7600"
[cluster]
seeds = ["a:1", "a:1", "0.0.0.0:0"]
"#;
    assert_eq!(
        faults_of(text),
        "the configuration has 6 faults:
  listen.grpc: \"7400\": write it as host:port, for example 127.0.0.1:7401 (spine.toml)
  listen.peer: \"0.0.0.0:7500\" listens everywhere; set listen.advertise_peer to what others connect to (spine.toml)
  listen.admin: \"::1:7600\": write an IPv6 address in brackets, for example [::1]:7401 (spine.toml)
  cluster.seeds: \"a:1\" stands there twice (spine.toml)
  cluster.seeds: \"0.0.0.0:0\": nobody can connect to 0.0.0.0 (spine.toml)
  cluster.seeds: \"0.0.0.0:0\": nobody can connect to port 0 (spine.toml)"
    );
}

#[test]
fn timings_are_checked_against_each_other() {
    assert_eq!(
        faults_of("[raft]\nwatch_interval_ms = 100\npeer_silence_ms = 300\nleader_lease_ms = 200\n"),
        "the configuration has 2 faults:
  raft.peer_silence_ms: 300 is less than four times raft.watch_interval_ms; use at least 400 (spine.toml)
  raft.leader_lease_ms: 200 must be more than raft.peer_silence_ms, which is 300: it is only a backstop (spine.toml)"
    );
}

#[test]
fn environment_and_flags_are_named_as_the_origin() {
    let sources = Sources {
        file: None,
        environment: vec![
            ("SPINE_LISTEN__GRCP".into(), "x".into()),
            ("SPINE_LISTEN_GRPC".into(), "127.0.0.1:1".into()),
            ("SPINE_LIMITS__REQUESTS_MAX".into(), "many".into()),
            ("SPINE_STORAGE__LOG_CACHE_BYTES".into(), "7".into()),
        ],
        flags: vec![
            "node.name".into(),
            "node.nam=x".into(),
            "telemetry.log_level=loud".into(),
        ],
    };
    assert_eq!(
        Config::load(&sources).unwrap_err().to_string(),
        "the configuration has 7 faults:
  limits.requests_max: expected a whole number, found \"many\" (environment variable SPINE_LIMITS__REQUESTS_MAX)
  listen.grpc: did you mean SPINE_LISTEN__GRPC? Section and key stand apart by two underscores (environment variable SPINE_LISTEN_GRPC)
  listen.grcp: unknown key; did you mean listen.grpc? (environment variable SPINE_LISTEN__GRCP)
  node.name: write it as section.key=value (--set)
  node.nam: unknown key; did you mean node.name? (--set)
  telemetry.log_level: \"loud\" is none of \"error\", \"warn\", \"info\", \"debug\", \"trace\" (--set)
  storage.log_cache_bytes: 7 is out of range; 1048576 to 1099511627776 are allowed (environment variable SPINE_STORAGE__LOG_CACHE_BYTES)"
    );
}

#[test]
fn a_file_that_is_not_toml_says_where() {
    assert_eq!(
        faults_of("[node\nname = 1\n"),
        "spine.toml is not TOML: TOML parse error at line 1, column 6
  |
1 | [node
  |      ^
unclosed table, expected `]`"
    );
}

#[test]
fn a_missing_file_is_named() {
    let sources = Sources {
        file: Some(PathBuf::from("/nowhere/spine.toml")),
        ..Sources::default()
    };
    assert_eq!(
        Config::load(&sources).unwrap_err().to_string(),
        "cannot read the configuration file /nowhere/spine.toml: No such file or directory (os error 2)"
    );
}

#[test]
fn a_configuration_built_in_code_is_checked_too() {
    let mut config = Config::default();
    assert_eq!(config.validate(), []);
    config.raft.watch_interval_ms = 0;
    let faults: Vec<String> = config.validate().iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        ["raft.watch_interval_ms: 0 is out of range; 5 to 1000 are allowed (default)"]
    );
}

#[test]
fn development_mode_is_loud_and_production_is_silent() {
    let mut config = Config::default();
    assert_eq!(config.warnings(), [""; 0]);
    config.security.mode = spine_cluster_config::Mode::Development;
    assert_eq!(
        config.warnings(),
        ["DEVELOPMENT MODE: plain text, callers are refused, synthetic data only"]
    );
    config.security.development_principal = "developer".into();
    config.listen.peer = "10.0.0.1:7500".into();
    config.listen.admin = "[::1]:7600".into();
    assert_eq!(
        config.warnings(),
        [
            "DEVELOPMENT MODE: plain text, every caller is \"developer\", synthetic data only",
            "DEVELOPMENT MODE: listen.peer = \"10.0.0.1:7500\" can be reached from other machines",
        ]
    );
}
