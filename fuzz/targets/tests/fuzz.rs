//! The targets for a short time, each time alike: kept inputs, then drawn ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use spine_fuzz_targets::{fhir, frames, patch, search};

const CASES: u32 = 300;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../seeds")
        .join(target);
    let files = fs::read_dir(dir).unwrap();
    files
        .map(|file| fs::read(file.unwrap().path()).unwrap())
        .collect()
}

/// Kept inputs, as they are and with something wrong; then bytes of any kind.
fn run(target: &'static str, property: fn(&[u8])) {
    let kept = seeds(target);
    assert!(!kept.is_empty());
    for seed in &kept {
        property(seed);
    }
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, random);
    let pieces: Vec<&[u8]> = vec![
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\\",
        b"\\u0000",
        b"\xff",
        b"\xf0\x9f\x98\x80",
        b"null",
        b"-0e99",
        b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
        b"\"id\":\"n1\"",
        b"/name/0",
        b"/name/-",
        b"/~1~0",
        b"*",
        b"&",
        b"=",
        b"birthdate=ge",
        b"9999-99-99",
        b"_fuzzy-match=true",
        b"%",
        b"\n",
    ];
    let edits = prop::collection::vec((any::<prop::sample::Index>(), select(pieces), 0..40_usize), 0..6);
    let changed = (select(kept), edits).prop_map(|(mut bytes, edits)| {
        for (at, piece, removed) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, piece.iter().copied());
        }
        bytes
    });
    let any_bytes = prop::collection::vec(any::<u8>(), 0..400);
    let inputs = prop_oneof![4 => changed, 1 => any_bytes];
    runner
        .run(&inputs, |bytes| {
            property(&bytes);
            Ok(())
        })
        .unwrap();
}

/// Names of what stands in a folder of the fuzz targets, without what a file's name ends with.
fn names(folder: &str) -> BTreeSet<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let names = entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    names.collect()
}

#[test]
fn fuzz_targets_are_those_that_run_here_and_are_told_of() {
    let here = ["fhir", "frames", "patch", "search"].map(str::to_owned);
    assert_eq!(names("fuzz_targets"), BTreeSet::from(here.clone()));
    assert_eq!(names("seeds"), BTreeSet::from(here.clone()));
    let (manifest, read_me) = (include_str!("../../Cargo.toml"), include_str!("../../README.md"));
    assert_eq!(manifest.matches("[[bin]]").count(), here.len());
    assert!(!read_me.contains("TO BE FILLED IN"), "how long they ran");
    for name in here {
        let path = format!("path = \"fuzz_targets/{name}.rs\"");
        assert!(manifest.contains(&path), "{name}");
        // What it is given, and how long it ran.
        assert_eq!(read_me.matches(&format!("\n| `{name}` |")).count(), 2, "{name}");
    }
}

#[test]
fn fuzz_patch() {
    run("patch", patch);
}

#[test]
fn fuzz_search() {
    run("search", search);
}

#[test]
fn fuzz_fhir() {
    run("fhir", fhir);
}

#[test]
fn fuzz_frames() {
    run("frames", frames);
}
