//! Which keys exist and which type each has. The defaults are the schema, so that no second list can drift.

use toml::{Table, Value};

use crate::Config;

/// Keys that take one of a few words.
const CHOICES: &[(&str, &[&str])] = &[
    ("storage.engine", &["sled", "fjall"]),
    ("security.mode", &["development", "production"]),
    ("telemetry.log_format", &["text", "json"]),
    (
        "telemetry.log_level",
        &["error", "warn", "info", "debug", "trace"],
    ),
];

/// Below this likeness (0 to 1) a suggestion would confuse more than help.
const SUGGESTION_MIN: f64 = 0.8;

/// What the defaults look like as a table.
pub(crate) fn schema() -> Table {
    Table::try_from(Config::default()).expect("the defaults are a tree of strings, numbers and lists")
}

/// All `section.key` paths, sorted.
pub(crate) fn paths(schema: &Table) -> Vec<String> {
    let mut paths = Vec::new();
    for (section, keys) in schema {
        for key in keys.as_table().into_iter().flat_map(Table::keys) {
            paths.push(format!("{section}.{key}"));
        }
    }
    paths.sort();
    paths
}

/// The default value of a `section.key` path, which also gives its type.
pub(crate) fn default_of<'a>(schema: &'a Table, path: &str) -> Option<&'a Value> {
    let (section, key) = path.split_once('.')?;
    schema.get(section)?.as_table()?.get(key)
}

/// The words a key takes, where it takes only some.
pub(crate) fn choices(path: &str) -> Option<&'static [&'static str]> {
    CHOICES.iter().find(|(p, _)| *p == path).map(|(_, words)| *words)
}

/// The candidate most like `word`, if it is like it at all.
pub(crate) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= SUGGESTION_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Why `value` does not fit `path`, if it does not.
pub(crate) fn misfit(path: &str, default: &Value, value: &Value) -> Option<String> {
    match (default, value) {
        (Value::String(_), Value::String(word)) => misfit_word(path, word),
        (Value::Integer(_), Value::Integer(n)) if *n < 0 => Some(format!("{n} is negative")),
        (Value::Array(_), Value::Array(items)) => {
            let odd = items.iter().find(|item| !item.is_str())?;
            Some(format!(
                "expected a list of strings, found {} in it",
                odd.type_str()
            ))
        }
        _ if default.same_type(value) => None,
        _ => Some(format!("expected {}, found {}", kind(default), value.type_str())),
    }
}

fn misfit_word(path: &str, word: &str) -> Option<String> {
    let words = choices(path)?;
    if words.contains(&word) {
        return None;
    }
    let quoted: Vec<String> = words.iter().map(|w| format!("{w:?}")).collect();
    let hint = match closest(word, words.iter().copied()) {
        Some(near) => format!("; did you mean {near:?}?"),
        None => String::new(),
    };
    Some(format!("{word:?} is none of {}{hint}", quoted.join(", ")))
}

fn kind(default: &Value) -> &'static str {
    match default {
        Value::Array(_) => "a list of strings",
        Value::Integer(_) => "a whole number",
        Value::Boolean(_) => "true or false",
        _ => "a string",
    }
}

/// Reads text from the environment or a flag as the type its key has.
pub(crate) fn from_text(default: &Value, text: &str) -> Result<Value, String> {
    match default {
        Value::Integer(_) => text
            .replace('_', "")
            .parse()
            .map(Value::Integer)
            .map_err(|_| format!("expected a whole number, found {text:?}")),
        Value::Boolean(_) => text
            .parse()
            .map(Value::Boolean)
            .map_err(|_| format!("expected true or false, found {text:?}")),
        Value::Array(_) => Ok(Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|s| !s.is_empty())
                .map(|s| Value::String(s.to_owned()))
                .collect(),
        )),
        _ => Ok(Value::String(text.to_owned())),
    }
}
