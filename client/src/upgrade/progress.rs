//! How far an upgrade has come: what must outlive the process that carries it out.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The form of the file. A later release that reads more of it keeps reading this.
const FORMAT: u32 = 1;

/// Where an upgrade stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nodes move to the new program.
    Forward,
    /// Nodes that had moved go back, for this reason.
    Back {
        /// For people.
        reason: String,
    },
    /// Every node runs the new program.
    Done,
    /// The same, and all shards follow its rules: there is no way back.
    Finalized {
        /// The level in force.
        level: u32,
    },
    /// Every node runs the program that it had.
    RolledBack {
        /// Why it went back.
        reason: String,
    },
}

/// An upgrade under way, or its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    format: u32,
    /// Of the cluster that it belongs to.
    pub cluster_id: String,
    /// The program that nodes had; `None` where there is no way back.
    pub from: Option<PathBuf>,
    /// The program that they get.
    pub to: PathBuf,
    /// Nodes that run the new one, in the order in which they moved.
    pub done: Vec<u64>,
    /// The node that is being restarted.
    pub under_way: Option<u64>,
    /// Where it stands.
    pub phase: Phase,
}

/// Not the progress of an upgrade.
#[derive(Debug, thiserror::Error)]
pub enum ProgressError {
    /// Not the file of an upgrade.
    #[error("not the progress of an upgrade: {0}")]
    Malformed(String),
    /// Of a later release.
    #[error("of form {0}, which this release does not read")]
    Format(u32),
}

impl Progress {
    /// Of an upgrade that begins.
    #[must_use]
    pub fn new(cluster_id: String, from: Option<PathBuf>, to: PathBuf) -> Self {
        Self {
            format: FORMAT,
            cluster_id,
            from,
            to,
            done: Vec::new(),
            under_way: None,
            phase: Phase::Forward,
        }
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`ProgressError`]
    pub fn decode(text: &str) -> Result<Self, ProgressError> {
        // First the form: what else is there depends on it.
        #[derive(Deserialize)]
        struct Form {
            format: u32,
        }
        let malformed = |error: serde_json::Error| ProgressError::Malformed(error.to_string());
        let Form { format } = serde_json::from_str(text).map_err(malformed)?;
        if format != FORMAT {
            return Err(ProgressError::Format(format));
        }
        serde_json::from_str(text).map_err(malformed)
    }

    /// As text.
    #[must_use]
    pub fn encode(&self) -> String {
        // Plain strings and numbers: there is nothing that JSON could refuse.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// True where nothing is left to do.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(
            self.phase,
            Phase::Done | Phase::Finalized { .. } | Phase::RolledBack { .. }
        )
    }

    /// This node is taken back now.
    pub(super) fn take_up(&mut self, node: u64) {
        // One that was in the middle may run either program; it has its turn later.
        self.done.extend(self.under_way.filter(|other| *other != node));
        self.done.retain(|done| *done != node);
        self.under_way = Some(node);
    }

    /// From now on nodes go back.
    pub fn turn_back(&mut self, reason: impl Into<String>) {
        self.phase = Phase::Back {
            reason: reason.into(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut progress = Progress::new("c".into(), Some("/old".into()), "/new".into());
        progress.done = vec![2];
        progress.under_way = Some(3);
        assert_eq!(Progress::decode(&progress.encode()).expect("read"), progress);
        progress.turn_back("canary");
        assert!(!progress.has_ended());
        assert_eq!(Progress::decode(&progress.encode()).expect("read"), progress);
    }

    #[test]
    fn the_form_of_the_file_stays() {
        let text = "{\"format\":1,\"cluster_id\":\"c\",\"from\":null,\"to\":\"/new\",\"done\":[1],\"under_way\":null,\
                    \"phase\":{\"back\":{\"reason\":\"r\"}}}";
        let progress = Progress::decode(text).expect("read");
        assert_eq!((progress.done, progress.from), (vec![1], None));
        assert_eq!(progress.phase, Phase::Back { reason: "r".into() });
        let text = text.replace("{\"back\":{\"reason\":\"r\"}}", "{\"finalized\":{\"level\":2}}");
        let progress = Progress::decode(&text).expect("read");
        assert!(progress.has_ended() && progress.phase == Phase::Finalized { level: 2 });
    }

    #[test]
    fn rubbish_and_later_forms_are_refused() {
        for text in ["", "{}", "[1]", "{\"format\":1}"] {
            assert!(
                matches!(Progress::decode(text), Err(ProgressError::Malformed(_))),
                "{text}"
            );
        }
        let later = Progress::decode("{\"format\":2,\"new\":true}");
        assert!(matches!(later, Err(ProgressError::Format(2))));
    }
}
