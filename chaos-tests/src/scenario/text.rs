//! The text form: header lines, then one line for each fault.
//!
//! ```text
//! # comments and empty lines are passed over
//! seed 5
//! nodes 3
//! shards 2
//! time 8000
//! at 1200 for 800: kill n1
//! ```
//!
//! Times are milliseconds. A header line left out has its default: seed 1, 3 nodes, 2 shards, time 8000.

mod words;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use self::words::Words;
use super::{Fault, Scenario, Step};

/// Bounds of what a text may ask for.
const NODES_MAX: usize = 16;
const SHARDS_MAX: u32 = 64;
const TIME_MAX_MS: u64 = 3_600_000;
const STEPS_MAX: usize = 10_000;
const CLIENTS_MAX: u32 = 256;

/// A line that is no part of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// For people.
    pub problem: String,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        writeln!(f, "nodes {}", self.nodes)?;
        writeln!(f, "shards {}", self.shards)?;
        writeln!(f, "time {}", self.time.as_millis())?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_millis(), self.lasts.as_millis());
        write!(f, "at {at} for {lasts}: {}", self.fault)
    }
}

impl Fault {
    /// The first word of its text.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::Pause(_) => "pause",
            Self::PowerCut(_) => "power-cut",
            Self::Isolate(_) => "isolate",
            Self::OneWay(..) => "one-way",
            Self::Bridge(_) => "bridge",
            Self::Hold(_) => "hold",
            Self::Reset(..) => "reset",
            Self::Forge(_) => "forge",
            Self::HalfClose(..) => "half-close",
            Self::Truncate(..) => "truncate",
            Self::HideFromClients(_) => "hide-from-clients",
            Self::LostReplies(_) => "lost-replies",
            Self::LateReplies(..) => "late-replies",
            Self::Slow(_) => "slow",
            Self::Narrow(..) => "narrow",
            Self::DiskStall(_) => "disk-stall",
            Self::DiskFull(_) => "disk-full",
            Self::FsyncFails(_) => "fsync-fails",
            Self::CorruptState(_) => "corrupt-state",
            Self::ClientStorm(_) => "client-storm",
            Self::PurgeWhileDown(_) => "purge-while-down",
            Self::ClockJump(..) => "clock-jump",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Kill(nodes)
            | Self::Pause(nodes)
            | Self::PowerCut(nodes)
            | Self::Isolate(nodes)
            | Self::Hold(nodes) => nodes.iter().try_for_each(|node| write!(f, " n{}", node + 1)),
            Self::OneWay(one, other)
            | Self::Reset(one, other)
            | Self::HalfClose(one, other)
            | Self::Truncate(one, other) => write!(f, " n{} n{}", one + 1, other + 1),
            Self::Bridge(node)
            | Self::Forge(node)
            | Self::HideFromClients(node)
            | Self::LostReplies(node)
            | Self::DiskStall(node)
            | Self::DiskFull(node)
            | Self::FsyncFails(node)
            | Self::CorruptState(node)
            | Self::PurgeWhileDown(node) => write!(f, " n{}", node + 1),
            Self::LateReplies(node, by) => write!(f, " n{} {} ms", node + 1, by.as_millis()),
            Self::Slow(by) => write!(f, " {} ms", by.as_millis()),
            Self::Narrow(node, rate) => write!(f, " n{} {rate} bytes/s", node + 1),
            Self::ClientStorm(clients) => write!(f, " {clients}"),
            Self::ClockJump(node, by_ms) => write!(f, " n{} {by_ms} ms", node + 1),
        }
    }
}

impl FromStr for Scenario {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut reader = Reader::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            reader.take(line).map_err(|problem| ParseError {
                line: number,
                problem,
            })?;
        }
        Ok(reader.scenario())
    }
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    seed: Option<u64>,
    nodes: Option<usize>,
    shards: Option<u32>,
    time_ms: Option<u64>,
    steps: Vec<Step>,
}

/// Takes a header's value, once and before the first step.
fn header<T>(slot: &mut Option<T>, steps: &[Step], value: T) -> Result<(), String> {
    if !steps.is_empty() {
        return Err("header lines stand before the first fault".to_owned());
    }
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err("this header line stands there twice".to_owned()),
    }
}

impl Reader {
    fn take(&mut self, line: &str) -> Result<(), String> {
        let (head, body) = line.split_once(':').unwrap_or((line, ""));
        let mut words = Words(head.split_whitespace());
        match words.next("a header line or `at`")? {
            "seed" => header(&mut self.seed, &self.steps, words.number(0, u64::MAX)?)?,
            "nodes" => header(&mut self.nodes, &self.steps, words.number(1, NODES_MAX)?)?,
            "shards" => header(&mut self.shards, &self.steps, words.number(1, SHARDS_MAX)?)?,
            "time" => header(&mut self.time_ms, &self.steps, words.number(1, TIME_MAX_MS)?)?,
            "at" => {
                let at = words.number(0, TIME_MAX_MS)?;
                words.word("for")?;
                let lasts = words.number(0, TIME_MAX_MS)?;
                let fault = parse_fault(body, self.node_count())?;
                return words.end().and_then(|()| self.push(at, lasts, fault));
            }
            other => return Err(format!("no line begins with `{other}`")),
        }
        if line.contains(':') {
            return Err("a header line has no `:`".to_owned());
        }
        words.end()
    }

    fn push(&mut self, at_ms: u64, lasts_ms: u64, fault: Fault) -> Result<(), String> {
        let time_ms = self.time_ms();
        if at_ms >= time_ms {
            return Err(format!("faults begin before {time_ms}, the time"));
        }
        if self.steps.len() >= STEPS_MAX {
            return Err(format!("more than {STEPS_MAX} faults"));
        }
        self.steps.push(Step::of(at_ms, lasts_ms, fault));
        Ok(())
    }

    fn node_count(&self) -> usize {
        self.nodes.unwrap_or(3)
    }

    fn time_ms(&self) -> u64 {
        self.time_ms.unwrap_or(8_000)
    }

    fn scenario(self) -> Scenario {
        Scenario {
            seed: self.seed.unwrap_or(1),
            nodes: self.node_count(),
            shards: self.shards.unwrap_or(2),
            time: Duration::from_millis(self.time_ms()),
            steps: self.steps,
        }
    }
}

fn parse_fault(text: &str, nodes: usize) -> Result<Fault, String> {
    let mut words = Words(text.split_whitespace());
    let name = words.next("a fault after `:`")?;
    let fault = match name {
        "kill" => Fault::Kill(words.some(nodes)?),
        "pause" => Fault::Pause(words.some(nodes)?),
        "power-cut" => Fault::PowerCut(words.some(nodes)?),
        "isolate" => Fault::Isolate(words.some(nodes)?),
        "hold" => Fault::Hold(words.some(nodes)?),
        "bridge" => Fault::Bridge(words.node(nodes)?),
        "forge" => Fault::Forge(words.node(nodes)?),
        "hide-from-clients" => Fault::HideFromClients(words.node(nodes)?),
        "lost-replies" => Fault::LostReplies(words.node(nodes)?),
        "late-replies" => Fault::LateReplies(words.node(nodes)?, words.time()?),
        "slow" => Fault::Slow(words.time()?),
        "narrow" => Fault::Narrow(words.node(nodes)?, words.quantity(1, u64::MAX, "bytes/s")?),
        "disk-stall" => Fault::DiskStall(words.node(nodes)?),
        "disk-full" => Fault::DiskFull(words.node(nodes)?),
        "fsync-fails" => Fault::FsyncFails(words.node(nodes)?),
        "corrupt-state" => Fault::CorruptState(words.node(nodes)?),
        "client-storm" => Fault::ClientStorm(words.number(1, CLIENTS_MAX)?),
        "purge-while-down" => Fault::PurgeWhileDown(words.node(nodes)?),
        "clock-jump" => Fault::ClockJump(words.node(nodes)?, words.quantity(i64::MIN, i64::MAX, "ms")?),
        _ => {
            let (one, other) = words.two(nodes, name)?;
            match name {
                "one-way" => Fault::OneWay(one, other),
                "reset" => Fault::Reset(one, other),
                "half-close" => Fault::HalfClose(one, other),
                _ => Fault::Truncate(one, other),
            }
        }
    };
    words.end()?;
    Ok(fault)
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
