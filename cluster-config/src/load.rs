//! Defaults < file < environment < flags, and every fault of all of them in one answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::environment::{Meaning, meaning};
use crate::{Config, ConfigError, Fault, Origin, keys, validate};

/// Where settings come from, weakest first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub file: Option<PathBuf>,
    /// All variables of the process; those of others are passed over.
    pub environment: Vec<(String, String)>,
    /// `section.key=value` each.
    pub flags: Vec<String>,
}

impl Sources {
    /// A file (or none), the flags, and this process's environment. Variables that are not UTF-8 are passed over.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<String>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            file,
            environment,
            flags,
        }
    }
}

impl Config {
    /// Reads, merges and checks.
    ///
    /// # Errors
    /// All faults at once; or the file that cannot be read or is not TOML.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut merge = Merge::new();
        if let Some(path) = &sources.file {
            merge.file(path)?;
        }
        let mut environment = sources.environment.clone();
        environment.sort();
        for (name, text) in &environment {
            merge.variable(name, text);
        }
        for flag in &sources.flags {
            merge.flag(flag);
        }
        merge.finish()
    }

    /// Reads TOML text; `name` stands for it in faults.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(name: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut merge = Merge::new();
        merge.text(name, text)?;
        merge.finish()
    }
}

struct Merge {
    schema: Table,
    paths: Vec<String>,
    values: Table,
    origins: BTreeMap<String, Origin>,
    faults: Vec<Fault>,
}

impl Merge {
    fn new() -> Self {
        let schema = keys::schema();
        Self {
            paths: keys::paths(&schema),
            values: schema.clone(),
            schema,
            origins: BTreeMap::new(),
            faults: Vec::new(),
        }
    }

    fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        self.text(path, &text)
    }

    fn text(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError::Syntax {
                path: path.to_path_buf(),
                message: error.to_string().trim_end().to_owned(),
            })?;
        let origin = Origin::File(path.to_path_buf());
        for (section, content) in table {
            match content {
                Value::Table(content) if self.schema.contains_key(&section) => {
                    for (key, value) in content {
                        self.set(&format!("{section}.{key}"), value, origin.clone());
                    }
                }
                other => self.odd_section(&section, &other, origin.clone()),
            }
        }
        Ok(())
    }

    fn odd_section(&mut self, section: &str, content: &Value, origin: Origin) {
        let message = if self.schema.contains_key(section) {
            format!("expected a section, found {}", content.type_str())
        } else if let Some(path) = self
            .paths
            .iter()
            .find(|path| path.ends_with(&format!(".{section}")))
        {
            format!("unknown key; did you mean {path}?")
        } else {
            let kind = if content.is_table() {
                "unknown section"
            } else {
                "unknown key"
            };
            match keys::closest(section, self.schema.keys().map(String::as_str)) {
                Some(near) => format!("{kind}; did you mean {near}?"),
                None => kind.to_owned(),
            }
        };
        self.fault(section, message, origin);
    }

    fn variable(&mut self, name: &str, text: &str) {
        let origin = Origin::Environment(name.to_owned());
        match meaning(name, &self.paths) {
            Meaning::Path(path) => self.set_text(&path, text, origin),
            Meaning::Misspelt { path, right } => {
                self.fault(
                    &path,
                    format!("did you mean {right}? Section and key stand apart by two underscores"),
                    origin,
                );
            }
            Meaning::Other => {}
        }
    }

    fn flag(&mut self, flag: &str) {
        match flag.split_once('=') {
            Some((path, text)) => self.set_text(path.trim(), text.trim(), Origin::Flag),
            None => self.fault(flag, "write it as section.key=value".to_owned(), Origin::Flag),
        }
    }

    fn set_text(&mut self, path: &str, text: &str, origin: Origin) {
        let Some(default) = keys::default_of(&self.schema, path) else {
            return self.unknown(path, origin);
        };
        match keys::from_text(default, text) {
            Ok(value) => self.set(path, value, origin),
            Err(message) => self.fault(path, message, origin),
        }
    }

    fn set(&mut self, path: &str, value: Value, origin: Origin) {
        let Some(default) = keys::default_of(&self.schema, path) else {
            return self.unknown(path, origin);
        };
        if let Some(message) = keys::misfit(path, default, &value) {
            return self.fault(path, message, origin);
        }
        let (section, key) = path
            .split_once('.')
            .expect("a known path has a section and a key");
        if let Some(table) = self.values.get_mut(section).and_then(Value::as_table_mut) {
            table.insert(key.to_owned(), value);
        }
        self.origins.insert(path.to_owned(), origin);
    }

    fn unknown(&mut self, path: &str, origin: Origin) {
        // The whole path first, then the last part alone: it may only stand in the wrong section.
        let last = path.rsplit('.').next().unwrap_or(path);
        let moved = self
            .paths
            .iter()
            .find(|known| known.rsplit('.').next() == Some(last));
        let near = moved.map(String::as_str).or_else(|| self.closest_path(path));
        let message = match near {
            Some(near) => format!("unknown key; did you mean {near}?"),
            None => "unknown key".to_owned(),
        };
        self.fault(path, message, origin);
    }

    /// Paths of the same section first: they share a prefix with everything in it.
    fn closest_path(&self, path: &str) -> Option<&str> {
        if let Some((section, key)) = path.split_once('.')
            && let Some(keys_here) = self.schema.get(section).and_then(Value::as_table)
        {
            let near = keys::closest(key, keys_here.keys().map(String::as_str))?;
            let full = format!("{section}.{near}");
            return self
                .paths
                .iter()
                .find(|known| **known == full)
                .map(String::as_str);
        }
        keys::closest(path, self.paths.iter().map(String::as_str))
    }

    fn fault(&mut self, path: &str, message: String, origin: Origin) {
        self.faults.push(Fault {
            path: path.to_owned(),
            message,
            origin,
        });
    }

    /// Values that do not fit keep their default, so that the rest can still be checked.
    fn finish(mut self) -> Result<Config, ConfigError> {
        let config: Config = match Value::Table(self.values).try_into() {
            Ok(config) => config,
            Err(error) => {
                let fault = Fault {
                    path: "configuration".to_owned(),
                    message: error.message().to_owned(),
                    origin: Origin::Default,
                };
                self.faults.push(fault);
                return Err(ConfigError::Faults { faults: self.faults });
            }
        };
        for (path, message) in validate::faults(&config) {
            let origin = self.origins.get(&path).cloned().unwrap_or(Origin::Default);
            self.faults.push(Fault {
                path,
                message,
                origin,
            });
        }
        if self.faults.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Faults { faults: self.faults })
        }
    }
}
