//! When clients had answers: one column for each slice of time.

use std::fmt::Write as _;

use super::html::{escape, seconds};
use crate::history::{Operation, Outcome};

/// Slices of the whole run.
const SLICES: usize = 300;
const HEIGHT: f64 = 60.0;

#[derive(Clone, Copy, Default)]
struct Slice {
    answered: u32,
    not_answered: u32,
}

/// Green = answers, as high as there were many; red = calls that ended without one; grey = neither.
pub(super) fn draw(operations: &[Operation], begin_ns: u64, end_ns: u64, width: u32) -> String {
    if operations.is_empty() {
        return "<p>No call was recorded.</p>".to_owned();
    }
    let slices = slices(operations, begin_ns, end_ns);
    let most = slices
        .iter()
        .map(|slice| slice.answered)
        .max()
        .unwrap_or(1)
        .max(1);
    let step = f64::from(width) / 300.0;
    let mut svg =
        format!("<svg width=\"{width}\" height=\"62\" role=\"img\" aria-label=\"answers over time\">");
    for (number, slice) in (0_u32..).zip(&slices) {
        let x = f64::from(number) * step;
        let (class, height) = match slice {
            Slice {
                not_answered: 1.., ..
            } => ("bad", HEIGHT),
            Slice { answered: 0, .. } => ("none", HEIGHT),
            Slice { answered, .. } => ("good", (f64::from(*answered) / f64::from(most) * HEIGHT).max(2.0)),
        };
        let from = begin_ns + (end_ns.saturating_sub(begin_ns) / 300) * u64::from(number);
        let title = format!(
            "{} s: {} answered, {} not",
            seconds(from),
            slice.answered,
            slice.not_answered
        );
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{step:.1}\" height=\"{height:.1}\"><title>{}</title></rect>",
            HEIGHT - height,
            escape(&title)
        );
    }
    svg.push_str("</svg>");
    let _ = write!(svg, "<p>{}</p>", escape(&longest_gap(operations)));
    svg
}

fn slices(operations: &[Operation], begin_ns: u64, end_ns: u64) -> Vec<Slice> {
    let span = end_ns.saturating_sub(begin_ns).max(1);
    let mut slices = vec![Slice::default(); SLICES];
    for operation in operations {
        let Some(at) = operation.returned_ns else { continue };
        let place = u128::from(at.saturating_sub(begin_ns)) * SLICES as u128 / u128::from(span);
        let place = usize::try_from(place).unwrap_or(SLICES).min(SLICES - 1);
        match operation.outcome {
            Outcome::Ok(_) | Outcome::Rejected { .. } => slices[place].answered += 1,
            Outcome::Unknown { .. } | Outcome::Failed { .. } => slices[place].not_answered += 1,
        }
    }
    slices
}

fn longest_gap(operations: &[Operation]) -> String {
    let mut answers: Vec<u64> = operations
        .iter()
        .filter(|operation| operation.seen().is_some())
        .filter_map(|operation| operation.returned_ns)
        .collect();
    answers.sort_unstable();
    let gap = answers.windows(2).max_by_key(|pair| pair[1] - pair[0]);
    gap.map_or_else(
        || "Fewer than two answers.".to_owned(),
        |pair| {
            let long = (pair[1] - pair[0]) / 1_000_000;
            format!(
                "Longest time without any answer: {long} ms, from {} s.",
                seconds(pair[0])
            )
        },
    )
}
