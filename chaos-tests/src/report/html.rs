//! Text inside of HTML.

/// Text as it may stand between tags and in quoted attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Control characters other than line breaks have no place in HTML.
            control if control.is_control() && control != '\n' && control != '\t' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A point of time as seconds, for people.
pub(super) fn seconds(ns: u64) -> String {
    format!("{:.3}", ns_to_ms(ns) / 1_000.0)
}

#[expect(clippy::cast_precision_loss, reason = "for drawing only")]
pub(super) fn ns_to_ms(ns: u64) -> f64 {
    ns as f64 / 1_000_000.0
}

/// Maps times of a run to positions of a drawing.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    begin_ns: u64,
    span_ms: f64,
    width: f64,
}

impl Scale {
    pub(super) fn new(begin_ns: u64, end_ns: u64, width: f64) -> Self {
        let span_ms = ns_to_ms(end_ns.saturating_sub(begin_ns)).max(1.0);
        Self {
            begin_ns,
            span_ms,
            width,
        }
    }

    pub(super) fn x(&self, ns: u64) -> f64 {
        let at = ns_to_ms(ns.saturating_sub(self.begin_ns));
        (at / self.span_ms * self.width).min(self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_means_something_to_a_browser_is_left() {
        let hostile = "<script>alert('1' & \"2\")</script>\u{0}\u{1b}";
        let escaped = escape(hostile);
        assert_eq!(
            escaped,
            "&lt;script&gt;alert(&#39;1&#39; &amp; &quot;2&quot;)&lt;/script&gt;\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn a_run_of_no_time_has_a_scale() {
        assert!(Scale::new(5, 5, 900.0).x(5).abs() < f64::EPSILON);
        assert!((Scale::new(0, 1_000_000_000, 900.0).x(500_000_000) - 450.0).abs() < 0.001);
    }
}
