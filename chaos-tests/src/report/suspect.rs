//! The history of one register: each call as a bar, and a table.

use std::fmt::Write as _;

use super::html::{Scale, escape, seconds};
use crate::history::{Action, Operation, Outcome};

/// Calls shown of a long history: those around the ones that a violation names.
const SHOWN_MAX: usize = 120;
const ROW: usize = 14;

/// `named`: operations that a violation points at; they stand out.
pub(super) fn draw(key: &str, operations: &[Operation], named: &[u64], width: u32) -> String {
    let all: Vec<&Operation> = operations
        .iter()
        .filter(|operation| operation.key == key)
        .collect();
    let shown = around(&all, named);
    let Some(first) = shown.first() else {
        return "<p>The history holds no call to this register.</p>".to_owned();
    };
    let end = shown
        .iter()
        .map(|one| one.returned_ns.unwrap_or(one.invoked_ns))
        .max();
    let scale = Scale::new(first.invoked_ns, end.unwrap_or_default(), f64::from(width));
    let mut svg = format!(
        "<svg width=\"{width}\" height=\"{}\" role=\"img\" aria-label=\"calls\">",
        shown.len() * ROW + 2
    );
    let mut rows = String::new();
    for (number, operation) in shown.iter().enumerate() {
        let x = scale.x(operation.invoked_ns);
        // An open call may still take effect: its bar has no end.
        let until = operation.returned.and(operation.returned_ns);
        let length = until.map_or_else(|| f64::from(width) - x, |until| scale.x(until) - x);
        let class = if named.contains(&operation.id) {
            "named"
        } else {
            class(operation)
        };
        let says = escape(&format!(
            "#{} {} {}",
            operation.id,
            action(operation),
            outcome(operation)
        ));
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{}\"><title>{says}</title></rect>",
            number * ROW + 2,
            length.max(2.0),
            ROW - 4
        );
        let _ = write!(
            rows,
            "<tr class=\"{class}\"><td>#{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            operation.id,
            operation.client.0,
            seconds(operation.invoked_ns),
            until.map_or_else(|| "open".to_owned(), seconds),
            escape(&action(operation)),
            escape(&outcome(operation))
        );
    }
    svg.push_str("</svg>");
    format!(
        "<p>{} of {} calls.</p>{svg}<table><tr><th>call</th><th>client</th><th>from s</th><th>to s</th>\
         <th>asked</th><th>told</th></tr>{rows}</table>",
        shown.len(),
        all.len()
    )
}

fn around<'a>(all: &[&'a Operation], named: &[u64]) -> Vec<&'a Operation> {
    let last = all.iter().rposition(|operation| named.contains(&operation.id));
    let middle = last.unwrap_or_else(|| all.len().saturating_sub(1));
    let begin = middle.saturating_sub(SHOWN_MAX * 3 / 4);
    let near = &all[begin..all.len().min(begin + SHOWN_MAX)];
    let early = all[..begin]
        .iter()
        .filter(|operation| named.contains(&operation.id));
    early.chain(near).copied().collect()
}

fn class(operation: &Operation) -> &'static str {
    match operation.outcome {
        Outcome::Ok(_) if operation.action.is_read() => "read",
        Outcome::Ok(_) => "good",
        Outcome::Unknown { .. } => "none",
        Outcome::Rejected { .. } | Outcome::Failed { .. } => "bad",
    }
}

fn action(operation: &Operation) -> String {
    match &operation.action {
        Action::Read => "read".to_owned(),
        Action::Put { value } => format!("put {}", value.0),
        Action::Cas { expected, value } => {
            let expected = expected.map_or_else(|| "nothing".to_owned(), |value| value.0.to_string());
            format!("put {} if {expected}", value.0)
        }
        Action::Delete => "delete".to_owned(),
    }
}

fn outcome(operation: &Operation) -> String {
    match &operation.outcome {
        Outcome::Ok(seen) => {
            let value = seen
                .value
                .map_or_else(|| "nothing".to_owned(), |value| value.0.to_string());
            let again = if seen.replayed { ", replayed" } else { "" };
            format!(
                "{value} at revision {}, exact at {} of shard {}{again}",
                seen.revision, seen.index, seen.shard
            )
        }
        Outcome::Rejected { reason } => format!("no: {reason}"),
        Outcome::Unknown { reason } => format!("unknown: {reason}"),
        Outcome::Failed { reason } => format!("failed: {reason}"),
    }
}
