//! What the kernel says about this process, and gives it.

/// Resident memory in bytes; 0 where the kernel does not say.
#[must_use]
pub fn resident_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| parse(&status))
        .unwrap_or(0)
}

/// Asks for memory in small pages only. The allocator would have huge ones, and of those a node that has just started
/// holds up to twice what it uses; so much more is to be given back when it ends, and a virtual machine that returns it to
/// its host serves no disk meanwhile (`docs/reliability.md`). Throughput is the same; what it costs is that a killed
/// node's sockets close some 25 ms later.
pub fn use_small_pages() {
    // A kernel without huge pages has nothing to turn off.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_thp_disable(true).ok();
}

/// The line is `VmRSS:     1234 kB`.
fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_line_and_the_living_process() {
        assert_eq!(
            parse("VmPeak:\t 9 kB\nVmRSS:\t    1234 kB\n"),
            Some(1_234 * 1_024)
        );
        assert_eq!(parse("VmRSS:\t many kB\n"), None);
        assert!(resident_bytes() > 1 << 20);
    }
}
