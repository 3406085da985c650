//! Faults as bars over time.

use std::fmt::Write as _;

use super::html::{Scale, escape, seconds};
use super::journal::FaultEvent;

const ROW: usize = 18;

/// One bar for each fault; one that has no end is a mark.
pub(super) fn draw(faults: &[FaultEvent], begin_ns: u64, end_ns: u64, width: u32) -> String {
    if faults.is_empty() {
        return "<p>No fault was noted.</p>".to_owned();
    }
    let scale = Scale::new(begin_ns, end_ns, f64::from(width));
    let height = faults.len() * ROW + 4;
    let mut svg =
        format!("<svg width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"faults over time\">");
    for (number, fault) in faults.iter().enumerate() {
        let (x, y) = (scale.x(fault.at_ns), number * ROW + 2);
        let length = fault.until_ns.map_or(2.0, |until| (scale.x(until) - x).max(2.0));
        let until = fault
            .until_ns
            .map_or(String::new(), |until| format!(" to {} s", seconds(until)));
        let text = escape(&format!("{} s{until}: {}", seconds(fault.at_ns), fault.text));
        // The label stands where there is room for it.
        let (anchor, label) = if x > f64::from(width) * 0.6 {
            ("end", x - 4.0)
        } else {
            ("start", x + length + 4.0)
        };
        let _ = write!(
            svg,
            "<rect class=\"fault\" x=\"{x:.1}\" y=\"{y}\" width=\"{length:.1}\" height=\"{}\"><title>{text}</title></rect>\
             <text x=\"{label:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{text}</text>",
            ROW - 5,
            y + 10
        );
    }
    svg.push_str("</svg>");
    svg
}
