//! Sample bytes of a message, drawn from its descriptor: every field set, one sample for each kind of a oneof.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost::encoding::encode_varint;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// Messages inside messages.
const DEPTH_MAX: u32 = 5;

/// Everything that the protos define, by full name.
pub(crate) struct Types {
    messages: BTreeMap<String, DescriptorProto>,
    enums: BTreeMap<String, EnumDescriptorProto>,
}

impl Types {
    pub(crate) fn of_this_release() -> Self {
        let set = FileDescriptorSet::decode(spine_proto::DESCRIPTORS).unwrap();
        let mut types = Self {
            messages: BTreeMap::new(),
            enums: BTreeMap::new(),
        };
        for file in set
            .file
            .iter()
            .filter(|file| file.package().starts_with("spine."))
        {
            for message in &file.message_type {
                types.add(file.package(), message);
            }
            for values in &file.enum_type {
                let name = format!(".{}.{}", file.package(), values.name());
                types.enums.insert(name, values.clone());
            }
        }
        types
    }

    fn add(&mut self, scope: &str, message: &DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        for nested in &message.nested_type {
            self.add(&name, nested);
        }
        assert!(
            message.enum_type.is_empty(),
            "{name}: an enum of its own is not drawn yet"
        );
        self.messages.insert(format!(".{name}"), message.clone());
    }

    /// Names of all messages of these packages, without the leading dot.
    pub(crate) fn messages_of(&self, packages: &[&str]) -> Vec<String> {
        let in_one = |name: &&String| packages.iter().any(|package| name[1..].starts_with(package));
        let names = self.messages.keys().filter(in_one);
        names.map(|name| name[1..].to_owned()).collect()
    }

    /// What sets samples of a message apart: a field of each oneof, or nothing.
    pub(crate) fn variants(&self, message: &str) -> Vec<Option<i32>> {
        let fields = &self.messages[&format!(".{message}")].field;
        let variants: Vec<Option<i32>> = fields
            .iter()
            .filter(|field| field.oneof_index.is_some())
            .map(|field| Some(field.number()))
            .collect();
        if variants.is_empty() { vec![None] } else { variants }
    }

    /// The bytes of a sample.
    pub(crate) fn draw(&self, message: &str, variant: Option<i32>) -> Vec<u8> {
        self.message(&format!(".{message}"), variant, DEPTH_MAX)
    }

    /// In the order of prost: by number, a oneof where its lowest number is.
    fn message(&self, name: &str, variant: Option<i32>, depth: u32) -> Vec<u8> {
        let message = &self.messages[name];
        let mut chosen: BTreeMap<i32, &FieldDescriptorProto> = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for field in &message.field {
            let Some(oneof) = field.oneof_index else {
                chosen.insert(field.number(), field);
                continue;
            };
            let of_it = |field: &&FieldDescriptorProto| field.oneof_index == Some(oneof);
            let wanted = |field: &&FieldDescriptorProto| Some(field.number()) == variant;
            let mut kinds = message.field.iter().filter(of_it);
            let place = kinds.clone().map(FieldDescriptorProto::number).min();
            let kind = kinds.clone().find(wanted).or_else(|| kinds.next());
            if let (true, Some(place), Some(kind)) = (taken.insert(oneof), place, kind) {
                chosen.insert(place, kind);
            }
        }
        let mut bytes = Vec::new();
        for field in chosen.values() {
            self.field(field, depth, &mut bytes);
        }
        bytes
    }

    fn field(&self, field: &FieldDescriptorProto, depth: u32, bytes: &mut Vec<u8>) {
        let number = u64::try_from(field.number()).unwrap();
        let repeated = field.label() == Label::Repeated;
        let times = if repeated { 2 } else { 1 };
        match field.r#type() {
            Type::Message if depth == 0 => {}
            Type::Message => {
                for _ in 0..times {
                    let inner = self.message(field.type_name(), None, depth - 1);
                    put_bytes(number, &inner, bytes);
                }
            }
            Type::String | Type::Bytes => {
                for time in 0..times {
                    put_bytes(number, format!("{}{time}", field.name()).as_bytes(), bytes);
                }
            }
            Type::Fixed64 => {
                assert!(!repeated, "{}: not drawn yet", field.name());
                encode_varint(number << 3 | 1, bytes);
                bytes.extend_from_slice(&(0x0102_0304 + number).to_le_bytes());
            }
            _ => {
                let mut packed = Vec::new();
                for time in 0..times {
                    encode_varint(self.number(field, number + time), &mut packed);
                }
                if repeated {
                    put_bytes(number, &packed, bytes);
                } else {
                    encode_varint(number << 3, bytes);
                    bytes.extend_from_slice(&packed);
                }
            }
        }
    }

    /// Never zero, which is not encoded.
    fn number(&self, field: &FieldDescriptorProto, drawn: u64) -> u64 {
        match field.r#type() {
            Type::Bool => 1,
            Type::Enum => {
                let values = &self.enums[field.type_name()].value;
                let highest = values.iter().map(|value| value.number()).max();
                u64::try_from(highest.unwrap()).unwrap()
            }
            Type::Uint32 | Type::Uint64 | Type::Int32 | Type::Int64 => 1_000 + drawn,
            other => panic!("{}: {other:?} is not drawn yet", field.name()),
        }
    }
}

fn put_bytes(number: u64, content: &[u8], bytes: &mut Vec<u8>) {
    encode_varint(number << 3 | 2, bytes);
    encode_varint(u64::try_from(content.len()).unwrap(), bytes);
    bytes.extend_from_slice(content);
}
