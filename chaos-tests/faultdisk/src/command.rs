//! The line protocol: one order a line, one answer a line (`ok ...` or `error ...`).

use std::fmt;
use std::str::FromStr;

/// What a power cut leaves of what was not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    Clean,
    /// What this seed's luck keeps: some names, some 512-byte sectors, a torn end.
    Torn(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailSync {
    /// The next fsync of a file.
    Once,
    /// Every fsync, of files and directories.
    Always,
}

/// An order to a disk. Those that are not about power hold until [`Command::Heal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Everything fails from now on, and syncs that wait fail.
    PowerCut(Cut),
    /// A power cut during the change that comes after so many others.
    PowerCutAfter(u64, Cut),
    PowerOn,
    /// Every fsync waits so many milliseconds before it begins; `None` until healed.
    StallSync(Option<u64>),
    FailSync(FailSync),
    /// Every read, write and fsync takes so many milliseconds longer.
    Slow(u64),
    /// So many bytes are free; what would take more fails with `ENOSPC`.
    Full(u64),
    /// One bit is flipped in every read of files whose path contains this.
    CorruptRead(String),
    Heal,
    Counters,
    /// Unmounts and ends.
    Quit,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean => f.write_str("clean"),
            Self::Torn(seed) => write!(f, "torn {seed}"),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerCut(cut) => write!(f, "power-cut {cut}"),
            Self::PowerCutAfter(changes, cut) => write!(f, "power-cut-after {changes} {cut}"),
            Self::PowerOn => f.write_str("power-on"),
            Self::StallSync(None) => f.write_str("stall-fsync forever"),
            Self::StallSync(Some(ms)) => write!(f, "stall-fsync {ms}"),
            Self::FailSync(FailSync::Once) => f.write_str("fail-fsync once"),
            Self::FailSync(FailSync::Always) => f.write_str("fail-fsync always"),
            Self::Slow(ms) => write!(f, "slow {ms}"),
            Self::Full(free_bytes) => write!(f, "full {free_bytes}"),
            Self::CorruptRead(part) => write!(f, "corrupt-read {part}"),
            Self::Heal => f.write_str("heal"),
            Self::Counters => f.write_str("counters"),
            Self::Quit => f.write_str("quit"),
        }
    }
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word} is not a number"))
}

fn cut(words: &[&str]) -> Result<Cut, String> {
    match words {
        [] | ["clean"] => Ok(Cut::Clean),
        ["torn", seed] => Ok(Cut::Torn(number(seed)?)),
        other => Err(format!("a cut is clean or torn SEED, not {}", other.join(" "))),
    }
}

impl FromStr for Command {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["power-cut", rest @ ..] => Ok(Self::PowerCut(cut(rest)?)),
            ["power-cut-after", changes, rest @ ..] => Ok(Self::PowerCutAfter(number(changes)?, cut(rest)?)),
            ["power-on"] => Ok(Self::PowerOn),
            ["stall-fsync", "forever"] => Ok(Self::StallSync(None)),
            ["stall-fsync", ms] => Ok(Self::StallSync(Some(number(ms)?))),
            ["fail-fsync", "once"] => Ok(Self::FailSync(FailSync::Once)),
            ["fail-fsync", "always"] => Ok(Self::FailSync(FailSync::Always)),
            ["slow", ms] => Ok(Self::Slow(number(ms)?)),
            ["full"] => Ok(Self::Full(0)),
            ["full", free_bytes] => Ok(Self::Full(number(free_bytes)?)),
            ["corrupt-read", part] => Ok(Self::CorruptRead((*part).to_owned())),
            ["heal"] => Ok(Self::Heal),
            ["counters"] => Ok(Self::Counters),
            ["quit"] => Ok(Self::Quit),
            _ => Err(format!("no such order: {line}")),
        }
    }
}

/// What was asked of a disk since it was mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub on: bool,
    pub reads: u64,
    pub writes: u64,
    pub write_bytes: u64,
    pub syncs: u64,
    pub dir_syncs: u64,
    /// Everything that changes something, syncs too.
    pub changes: u64,
    pub power_cuts: u64,
    /// Syncs that wait now.
    pub waiting: u64,
}

impl Counters {
    fn fields(&mut self) -> [(&'static str, &mut u64); 8] {
        [
            ("reads", &mut self.reads),
            ("writes", &mut self.writes),
            ("write_bytes", &mut self.write_bytes),
            ("syncs", &mut self.syncs),
            ("dir_syncs", &mut self.dir_syncs),
            ("changes", &mut self.changes),
            ("power_cuts", &mut self.power_cuts),
            ("waiting", &mut self.waiting),
        ]
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "on={}", u64::from(self.on))?;
        let mut copy = *self;
        for (name, value) in copy.fields() {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}

impl FromStr for Counters {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut counters = Self::default();
        for word in text.split_whitespace() {
            let (name, value) = word.split_once('=').ok_or("no equals sign")?;
            let value = number(value)?;
            if name == "on" {
                counters.on = value == 1;
            }
            for (field, slot) in counters.fields() {
                if field == name {
                    *slot = value;
                }
            }
        }
        Ok(counters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_counters_read_as_they_are_written() {
        let orders = [
            Command::PowerCut(Cut::Clean),
            Command::PowerCut(Cut::Torn(7)),
            Command::PowerCutAfter(12, Cut::Torn(9)),
            Command::PowerOn,
            Command::StallSync(None),
            Command::StallSync(Some(20)),
            Command::FailSync(FailSync::Once),
            Command::FailSync(FailSync::Always),
            Command::Slow(3),
            Command::Full(4096),
            Command::CorruptRead("wal/".to_owned()),
            Command::Heal,
            Command::Counters,
            Command::Quit,
        ];
        for order in orders {
            assert_eq!(order.to_string().parse(), Ok(order));
        }
        let counters = Counters {
            on: true,
            syncs: 4,
            waiting: 1,
            ..Counters::default()
        };
        assert_eq!(counters.to_string().parse(), Ok(counters));
        assert!("slow".parse::<Command>().is_err());
        assert!("power-cut torn".parse::<Command>().is_err());
    }
}
