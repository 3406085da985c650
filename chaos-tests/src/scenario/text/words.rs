//! Reads a line word by word.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::TIME_MAX_MS;
use crate::scenario::Node;

/// The words of a line that are not read yet.
pub(super) struct Words<'a>(pub(super) std::str::SplitWhitespace<'a>);

impl<'a> Words<'a> {
    pub(super) fn next(&mut self, what: &str) -> Result<&'a str, String> {
        self.0.next().ok_or_else(|| format!("{what} is missing"))
    }

    pub(super) fn word(&mut self, word: &str) -> Result<(), String> {
        let found = self.next(&format!("`{word}`"))?;
        if found == word {
            Ok(())
        } else {
            Err(format!("`{word}` stands here, not `{found}`"))
        }
    }

    pub(super) fn number<T: FromStr + PartialOrd + fmt::Display + Copy>(
        &mut self,
        least: T,
        most: T,
    ) -> Result<T, String> {
        let word = self.next("a number")?;
        match word.parse() {
            Ok(number) if number >= least && number <= most => Ok(number),
            _ => Err(format!("`{word}` is no whole number from {least} to {most}")),
        }
    }

    pub(super) fn quantity<T: FromStr + PartialOrd + fmt::Display + Copy>(
        &mut self,
        least: T,
        most: T,
        unit: &str,
    ) -> Result<T, String> {
        let number = self.number(least, most)?;
        self.word(unit)?;
        Ok(number)
    }

    pub(super) fn time(&mut self) -> Result<Duration, String> {
        self.quantity(0, TIME_MAX_MS, "ms").map(Duration::from_millis)
    }

    pub(super) fn node(&mut self, nodes: usize) -> Result<Node, String> {
        let word = self.next("a node")?;
        parse_node(word, nodes)
    }

    /// Two nodes of a fault with this name, if there is one.
    pub(super) fn two(&mut self, nodes: usize, name: &str) -> Result<(Node, Node), String> {
        if !["one-way", "reset", "half-close", "truncate"].contains(&name) {
            return Err(format!("no fault is called `{name}`"));
        }
        let (one, other) = (self.node(nodes)?, self.node(nodes)?);
        if one == other {
            return Err("these are two nodes, not one".to_owned());
        }
        Ok((one, other))
    }

    /// All words that are left.
    pub(super) fn some(&mut self, nodes: usize) -> Result<Vec<Node>, String> {
        let mut found = vec![self.node(nodes)?];
        for word in self.0.by_ref() {
            let node = parse_node(word, nodes)?;
            if found.contains(&node) {
                return Err(format!("`{word}` stands there twice"));
            }
            found.push(node);
        }
        Ok(found)
    }

    pub(super) fn end(&mut self) -> Result<(), String> {
        match self.0.next() {
            None => Ok(()),
            Some(word) => Err(format!("`{word}` is too much")),
        }
    }
}

fn parse_node(word: &str, nodes: usize) -> Result<Node, String> {
    let number = word.strip_prefix('n').and_then(|number| number.parse().ok());
    match number {
        Some(number @ 1..) if number <= nodes => Ok(number - 1),
        _ => Err(format!("`{word}` is no node; they are n1 to n{nodes}")),
    }
}
