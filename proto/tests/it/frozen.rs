//! Bytes that an earlier release wrote must decode to the same message, and encode to the same bytes.
//!
//! A file is never changed once it is released. `REWRITE_FROZEN=1` writes the missing ones and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::samples::{self, Sample};

const STORED_PACKAGE: &str = "spine.storage.v1";

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/frozen/v0001")
}

fn file_of(sample: &Sample) -> String {
    match sample.variant {
        "" => format!("{}.bin", sample.message),
        variant => format!("{}-{variant}.bin", sample.message),
    }
}

#[test]
fn frozen_bytes_still_mean_the_same() {
    let rewrite = std::env::var_os("REWRITE_FROZEN").is_some_and(|value| value == "1");
    for sample in samples::all() {
        let path = dir().join(file_of(&sample));
        if rewrite && !path.exists() {
            std::fs::write(&path, &sample.bytes).unwrap();
        }
        let name = path.display();
        let frozen = std::fs::read(&path)
            .unwrap_or_else(|error| panic!("{name}: {error}: with REWRITE_FROZEN=1 this test writes it"));
        let (same, again) = (sample.again)(&frozen);
        assert!(same, "{name}: decodes to another message");
        assert_eq!(again, frozen, "{name}: encodes to other bytes");
        assert_eq!(
            sample.bytes, frozen,
            "{name}: the message is encoded otherwise now"
        );
    }
}

#[test]
fn every_file_has_its_sample() {
    let mut files: BTreeSet<String> = samples::all().iter().map(file_of).collect();
    assert_eq!(files.len(), samples::all().len(), "two samples share a file");
    // Written and checked where its code is.
    files.insert("value_frame.bin".to_string());
    for file in std::fs::read_dir(dir()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(files.contains(&name), "{name} is checked by nothing");
    }
}

/// A field or message that is added later needs a sample of its own before it may be stored.
#[test]
fn every_stored_field_is_in_a_sample() {
    let set = FileDescriptorSet::decode(spine_proto::DESCRIPTORS).unwrap();
    let mut seen: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    let samples = samples::all();
    for sample in &samples {
        seen.entry(sample.message)
            .or_default()
            .extend(field_numbers(&sample.bytes));
    }
    let files = set.file.iter().filter(|file| file.package() == STORED_PACKAGE);
    for message in files.flat_map(|file| &file.message_type) {
        let numbers = seen.get(message.name());
        assert!(numbers.is_some(), "{} has no frozen sample", message.name());
        for field in &message.field {
            let number = u64::try_from(field.number()).unwrap();
            assert!(
                numbers.is_some_and(|numbers| numbers.contains(&number)),
                "{}.{} is set in no frozen sample",
                message.name(),
                field.name()
            );
        }
    }
}

/// Numbers of the fields at the top level of an encoded message.
fn field_numbers(mut bytes: &[u8]) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    while !bytes.is_empty() {
        let tag = prost::encoding::decode_varint(&mut bytes).unwrap();
        numbers.insert(tag >> 3);
        match tag & 7 {
            0 => drop(prost::encoding::decode_varint(&mut bytes).unwrap()),
            2 => {
                let len = prost::encoding::decode_varint(&mut bytes).unwrap();
                bytes = &bytes[usize::try_from(len).unwrap()..];
            }
            other => panic!("wire type {other} is not used in stored messages"),
        }
    }
    numbers
}
