//! The files people copy.

use std::path::{Path, PathBuf};

use spine_cluster_config::{Config, Mode, Sources, example};

fn load(name: &str) -> Config {
    let file: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    Config::load(&Sources {
        file: Some(file),
        ..Sources::default()
    })
    .unwrap()
}

#[test]
fn every_example_loads() {
    assert_eq!(load("dev-single.toml").security.mode, Mode::Development);
    assert_eq!(load("local-three.toml").cluster.seeds.len(), 3);
    assert_eq!(
        load("prod-five.toml").listen.advertised_peer(),
        "spine-a1.example.org:7500"
    );
    assert_eq!(
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"))
            .unwrap()
            .count(),
        4
    );
}

#[test]
fn development_examples_can_start_and_the_production_one_says_why_not() {
    load("dev-single.toml").check_start().unwrap();
    load("local-three.toml").check_start().unwrap();
    let fault = load("prod-five.toml").check_start().unwrap_err();
    assert_eq!(
        fault.to_string(),
        "security.mode is \"production\", which needs TLS, and this release does not have it yet; \
         set security.mode = \"development\" and use synthetic data only"
    );
}

#[test]
fn the_commented_default_is_the_default() {
    assert_eq!(
        Config::parse(Path::new("default.toml"), example()).unwrap(),
        Config::default()
    );
}

#[test]
fn the_commented_default_names_every_key() {
    let all: toml::Table = Config::default().to_toml().parse().unwrap();
    let shown: toml::Table = example().parse().unwrap();
    for (section, keys) in &all {
        for key in keys.as_table().unwrap().keys() {
            assert!(shown[section].get(key).is_some(), "{section}.{key} is missing");
        }
    }
}

#[test]
fn what_is_printed_can_be_read_again() {
    let config = load("prod-five.toml");
    assert_eq!(
        Config::parse(Path::new("printed"), &config.to_toml()).unwrap(),
        config
    );
}
