//! Data on stdout, talk on stderr.

use std::fmt::Arguments;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::exit::Failure;

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs; its fields stay.
    Json,
}

/// One line to stderr.
pub(crate) fn talk(line: Arguments<'_>) {
    // Nothing is left to do where stderr is closed.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Bytes to stdout as they are.
pub(crate) fn data(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(Failure::io("stdout"))
}

/// One line to stdout.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    data(format!("{text}\n").as_bytes())
}

/// The value as JSON, or what `table` makes of it.
pub(crate) fn emit(format: Format, json: &Value, table: impl FnOnce() -> String) -> Result<(), Failure> {
    match format {
        Format::Json => line(&format!("{json:#}")),
        Format::Table => line(&table()),
    }
}

/// A table without lines, as wide as its content or the terminal.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// A bar on stderr; silent where stderr is no terminal.
pub(crate) fn progress(total: u64, unit: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    if !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let template = format!("{{bar:30}} {{pos}}/{{len}} {unit}  {{per_sec}}  {{eta}} left  {{msg}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
