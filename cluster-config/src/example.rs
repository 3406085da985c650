//! The commented default.

/// A file with every key, its default and what it is for: a start for one's own.
#[must_use]
pub fn example() -> &'static str {
    include_str!("../examples/default.toml")
}
