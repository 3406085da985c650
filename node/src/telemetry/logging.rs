//! Logs as text for people or JSON for machines, on standard error, at a level that can change while it runs.

use std::io::IsTerminal;
use std::sync::Arc;

use parking_lot::Mutex;
use spine_cluster_config::LogFormat;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// A filter longer than this is a mistake or an attack.
const FILTER_BYTES_MAX: usize = 1_024;

/// Why logging did not start or its level did not change.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("the log level {given:?} is not understood: {why}; write info, or info,spine_consensus=debug")]
    Filter { given: String, why: String },
    #[error("a log level is at most {FILTER_BYTES_MAX} bytes long")]
    TooLong,
    #[error("logging has been set up before in this process")]
    Twice,
    #[error("logging has ended")]
    Ended,
}

/// Changes the level of a running node.
#[derive(Clone)]
pub struct LevelHandle {
    reload: reload::Handle<EnvFilter, Registry>,
    current: Arc<Mutex<String>>,
}

impl LevelHandle {
    /// The filter in force.
    #[must_use]
    pub fn current(&self) -> String {
        self.current.lock().clone()
    }

    /// Takes `info`, or `info,spine_consensus=debug`; the next line follows it.
    ///
    /// # Errors
    /// `Filter` or `TooLong`, and the old one stays; `Ended` where the subscriber is gone.
    pub fn set(&self, filter: &str) -> Result<(), LoggingError> {
        let filter = filter.trim();
        let parsed = parse(filter)?;
        let mut current = self.current.lock();
        self.reload.reload(parsed).map_err(|_| LoggingError::Ended)?;
        filter.clone_into(&mut current);
        Ok(())
    }
}

/// Builds a subscriber that writes to `writer`.
///
/// # Errors
/// `Filter` or `TooLong`.
pub fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    ansi: bool,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync, LevelHandle), LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (layer, reload) = reload::Layer::new(parse(filter)?);
    let handle = LevelHandle {
        reload,
        current: Arc::new(Mutex::new(filter.to_owned())),
    };
    Ok((
        tracing_subscriber::registry()
            .with(layer)
            .with(lines(format, ansi, writer)),
        handle,
    ))
}

/// Sets logging up for this process, on standard error. Call once.
///
/// # Errors
/// `Filter` or `TooLong`; `Twice`.
pub fn init(format: LogFormat, filter: &str) -> Result<LevelHandle, LoggingError> {
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (subscriber, handle) = subscriber(format, filter, ansi, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::Twice)?;
    Ok(handle)
}

fn parse(filter: &str) -> Result<EnvFilter, LoggingError> {
    if filter.len() > FILTER_BYTES_MAX {
        return Err(LoggingError::TooLong);
    }
    let bad = |why: String| LoggingError::Filter {
        given: filter.to_owned(),
        why,
    };
    if filter.is_empty() {
        return Err(bad("it is empty".to_owned()));
    }
    // A single unknown word would be taken for the name of a target and silence everything else.
    let first = filter.split(',').next().unwrap_or(filter);
    if !first.contains('=') && first.parse::<tracing_subscriber::filter::LevelFilter>().is_err() {
        return Err(bad(format!("{first:?} is no level")));
    }
    // openraft speaks at info of every message and warns of every peer it does not reach, each time anew; what that
    // means for a shard our own lines say. Whoever asks for debug, or names targets, gets what was asked for.
    let quiet = matches!(filter.to_ascii_lowercase().as_str(), "info" | "warn");
    let filter = if quiet {
        format!("{filter},openraft=error")
    } else {
        filter.to_owned()
    };
    EnvFilter::try_new(filter).map_err(|error| bad(error.to_string()))
}

fn lines<S, W>(format: LogFormat, ansi: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    match format {
        LogFormat::Text => Box::new(fmt::layer().with_ansi(ansi).with_writer(writer)),
        LogFormat::Json => Box::new(fmt::layer().json().flatten_event(true).with_writer(writer)),
    }
}
