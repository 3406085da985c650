//! Nothing that was once in a proto may go away, move to another number or change its type.
//!
//! `testdata/descriptor.binpb` holds every proto of the last release. A new release replaces it:
//! `REWRITE_DESCRIPTOR=1` writes it where the present protos are compatible with it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/descriptor.binpb")
}

/// Everything callers, peers and disks rely on, as lines: what it is -> what it must stay.
fn facts(set: &FileDescriptorSet) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    for file in &set.file {
        let package = file.package();
        if !package.starts_with("spine.") {
            continue;
        }
        for message in &file.message_type {
            message_facts(package, message, &mut facts);
        }
        for values in &file.enum_type {
            enum_facts(package, values, &mut facts);
        }
        for service in &file.service {
            for method in &service.method {
                let what = format!("rpc {package}.{}/{}", service.name(), method.name());
                let stays = format!(
                    "{} {} -> {} {}",
                    method.client_streaming(),
                    method.input_type(),
                    method.server_streaming(),
                    method.output_type()
                );
                facts.insert(what, stays);
            }
        }
    }
    facts
}

fn message_facts(scope: &str, message: &DescriptorProto, facts: &mut BTreeMap<String, String>) {
    let name = format!("{scope}.{}", message.name());
    facts.insert(format!("message {name}"), String::new());
    for field in &message.field {
        let oneof = field
            .oneof_index
            .and_then(|index| message.oneof_decl.get(usize::try_from(index).ok()?))
            .map_or("", |oneof| oneof.name());
        let stays = format!(
            "{} {:?} {:?} {} oneof={oneof}",
            field.name(),
            field.label(),
            field.r#type(),
            field.type_name()
        );
        facts.insert(format!("field {name} = {}", field.number()), stays);
    }
    for nested in &message.nested_type {
        message_facts(&name, nested, facts);
    }
    for values in &message.enum_type {
        enum_facts(&name, values, facts);
    }
}

fn enum_facts(scope: &str, values: &EnumDescriptorProto, facts: &mut BTreeMap<String, String>) {
    for value in &values.value {
        let what = format!("enum {scope}.{} {}", values.name(), value.name());
        facts.insert(what, value.number().to_string());
    }
}

/// What the old protos had and the new ones have not, or have otherwise.
fn broken(old: &FileDescriptorSet, new: &FileDescriptorSet) -> Vec<String> {
    let new = facts(new);
    facts(old)
        .into_iter()
        .filter(|(what, stays)| new.get(what) != Some(stays))
        .map(|(what, stays)| format!("{what}: was `{stays}`, is `{:?}`", new.get(&what)))
        .collect()
}

fn present() -> FileDescriptorSet {
    FileDescriptorSet::decode(spine_proto::DESCRIPTORS).unwrap()
}

#[test]
fn nothing_released_has_gone_or_changed() {
    let rewrite = std::env::var_os("REWRITE_DESCRIPTOR").is_some_and(|value| value == "1");
    if rewrite && !path().exists() {
        std::fs::write(path(), spine_proto::DESCRIPTORS).unwrap();
    }
    let released = std::fs::read(path()).unwrap();
    let released = FileDescriptorSet::decode(released.as_slice()).unwrap();
    let broken = broken(&released, &present());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(facts(&released).len() > 100, "the released protos are there");
    if rewrite {
        std::fs::write(path(), spine_proto::DESCRIPTORS).unwrap();
    }
}

type Change = fn(&mut DescriptorProto);

/// The test above must notice what it is for.
#[test]
fn each_incompatible_change_is_noticed() {
    let changes: [(&str, Change); 4] = [
        ("a field removed", |message| drop(message.field.pop())),
        ("a field renumbered", |message| message.field[0].number = Some(99)),
        ("a field retyped", |message| message.field[0].r#type = Some(1)),
        ("a field renamed", |message| {
            message.field[0].name = Some("other".to_string());
        }),
    ];
    for (what, change) in changes {
        let mut changed = present();
        change(message(&mut changed, "Put"));
        assert_eq!(broken(&present(), &changed).len(), 1, "{what}");
    }
    let mut grown = present();
    let put = message(&mut grown, "Put");
    let mut field = put.field[0].clone();
    (field.name, field.number) = (Some("more".to_string()), Some(50));
    put.field.push(field);
    assert!(broken(&present(), &grown).is_empty(), "additions are allowed");
}

fn message<'a>(set: &'a mut FileDescriptorSet, name: &str) -> &'a mut DescriptorProto {
    let files = set
        .file
        .iter_mut()
        .filter(|file| file.package() == "spine.storage.v1");
    files
        .flat_map(|file| &mut file.message_type)
        .find(|message| message.name() == name)
        .unwrap()
}
