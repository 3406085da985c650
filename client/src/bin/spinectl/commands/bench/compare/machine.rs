//! Where a comparison ran, and what processes use there.

use std::fs;
use std::process::Command;

/// Linux tells processor time in these, whatever the kernel's own clock.
const TICKS_PER_SECOND: u64 = 100;

/// Cores, memory and kernel.
pub(super) fn describe() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpu_info = read("/proc/cpuinfo");
    let model = field(&cpu_info, "model name");
    let cores = cpu_info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let memory_kib: u64 = field(&read("/proc/meminfo"), "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    let (model, kernel) = (model.trim(), kernel.trim());
    let memory_gib = memory_kib as f64 / 1_048_576.0;
    format!("{cores} x {model}, {memory_gib:.0} GiB, Linux {kernel}")
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':'))
        .map_or("", |(_, value)| value.trim())
}

/// Of the tree this program stands in, if it stands in one.
pub(super) fn commit() -> String {
    let asked = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output();
    asked.ok().filter(|output| output.status.success()).map_or_else(
        || "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// Processor time of these processes and of this one so far, microseconds.
pub(super) fn cpu_us(processes: impl IntoIterator<Item = u32>) -> u64 {
    let all = processes.into_iter().chain([std::process::id()]);
    all.filter_map(ticks).sum::<u64>() * (1_000_000 / TICKS_PER_SECOND)
}

fn ticks(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in brackets may hold spaces; user and system time are the 12th and 13th field behind it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_time_on_a_machine_with_a_name() {
        let began = std::time::Instant::now();
        while began.elapsed() < std::time::Duration::from_millis(50) {}
        assert!(cpu_us([]) > 0);
        assert!(describe().contains("GiB"));
    }
}
