//! Both formats, and a level that changes while it runs.

use std::io;
use std::sync::{Arc, Mutex};

use spine_cluster_config::LogFormat;
use spine_node::telemetry::logging::subscriber;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[test]
fn the_level_follows_the_handle() {
    let lines = Lines::default();
    let (subscriber, level) = subscriber(LogFormat::Text, "info", false, lines.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        tracing::debug!("one");
        level.set("debug").unwrap();
        tracing::debug!("two");
        level.set("warn,it=trace").unwrap();
        tracing::trace!("three");
        level.set("off").unwrap();
        tracing::error!("four");
    });
    let text = lines.text();
    assert!(!text.contains("one"), "{text}");
    assert!(text.contains("two") && text.contains("three"), "{text}");
    assert!(!text.contains("four"), "{text}");
    assert_eq!(level.current(), "off");
}

#[test]
fn json_is_one_object_a_line() {
    let lines = Lines::default();
    let (subscriber, _level) = subscriber(LogFormat::Json, "info", false, lines.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, || tracing::info!(shard = 3, "leader changed"));
    let value: serde_json::Value = serde_json::from_str(lines.text().trim()).unwrap();
    assert_eq!(value["level"], "INFO");
    assert_eq!(value["message"], "leader changed");
    assert_eq!(value["shard"], 3);
}

#[test]
fn a_wrong_filter_changes_nothing() {
    let (_subscriber, level) = subscriber(LogFormat::Text, "info", false, io::sink).unwrap();
    for wrong in ["", "loud", "info,x=loud", &"x".repeat(2_000)] {
        level.set(wrong).unwrap_err();
        assert_eq!(level.current(), "info");
    }
    assert_eq!(
        level.set("loud").unwrap_err().to_string(),
        "the log level \"loud\" is not understood: \"loud\" is no level; write info, or info,spine_consensus=debug"
    );
}
