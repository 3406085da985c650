//! Checks of values and of values against each other.

use std::ops::RangeInclusive;

use crate::address::{is_loopback, is_wildcard, split_host_port};
use crate::{Config, ConfigError, Fault, Origin};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// No timing of ours makes sense above this.
const HOUR_MS: u64 = 3_600_000;
/// A thread for every processor of any machine.
const WORKERS_MAX: u64 = 1_024;
/// A name stands in every log line.
const NAME_BYTES_MAX: usize = 64;

/// `(path, message)` of all faults, in the order of the file.
pub(crate) fn faults(config: &Config) -> Vec<(String, String)> {
    let mut check = Check(Vec::new());
    node(&mut check, config);
    listen(&mut check, config);
    seeds(&mut check, config);
    threads(&mut check, config);
    storage(&mut check, config);
    raft(&mut check, config);
    limits(&mut check, config);
    security(&mut check, config);
    development(&mut check, config);
    check.range(
        "telemetry.slow_request_ms",
        config.telemetry.slow_request_ms,
        1..=HOUR_MS,
    );
    if crate::keys::choices("telemetry.log_level")
        .is_some_and(|words| !words.contains(&config.telemetry.log_level.as_str()))
    {
        check.fault(
            "telemetry.log_level",
            format!("{:?} is no level", config.telemetry.log_level),
        );
    }
    check.0
}

impl Config {
    /// All faults at once; empty = good. For a configuration built in code; [`Config::load`] has done it.
    #[must_use]
    pub fn validate(&self) -> Vec<Fault> {
        faults(self)
            .into_iter()
            .map(|(path, message)| Fault {
                path,
                message,
                origin: Origin::Default,
            })
            .collect()
    }

    /// Whether this release can run what is a valid configuration.
    ///
    /// # Errors
    /// Production mode: it needs TLS and principals from certificates, which this release does not have, and
    /// plain text is for development only.
    pub fn check_start(&self) -> Result<(), ConfigError> {
        if self.security.is_development() {
            Ok(())
        } else {
            Err(ConfigError::NeedsTls)
        }
    }
}

impl Config {
    /// What an operator must be told loudly at every start; empty in production mode.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        if !self.security.is_development() {
            return Vec::new();
        }
        let principal = &self.security.development_principal;
        let who = if principal.is_empty() {
            "callers are refused".to_owned()
        } else {
            format!("every caller is {principal:?}")
        };
        let mut warnings = vec![format!(
            "DEVELOPMENT MODE: plain text, {who}, synthetic data only"
        )];
        if !self.development.dial.is_empty() {
            warnings.push("DEVELOPMENT MODE: peers are dialled at other addresses than their own".to_owned());
        }
        if self.development.previous_release {
            warnings.push("DEVELOPMENT MODE: the node plays the release before this one".to_owned());
        }
        if self.development.tamper {
            warnings.push("DEVELOPMENT MODE: administrators may alter single replicas".to_owned());
        }
        let listen = &self.listen;
        for (name, address) in [
            ("grpc", &listen.grpc),
            ("peer", &listen.peer),
            ("admin", &listen.admin),
            ("http", &listen.http),
        ] {
            if !address.is_empty() && !split_host_port(address).is_ok_and(|(host, _)| is_loopback(host)) {
                warnings.push(format!(
                    "DEVELOPMENT MODE: listen.{name} = {address:?} can be reached from other machines"
                ));
            }
        }
        warnings
    }
}

struct Check(Vec<(String, String)>);

impl Check {
    fn fault(&mut self, path: &str, message: impl Into<String>) {
        self.0.push((path.to_owned(), message.into()));
    }

    fn range(&mut self, path: &str, value: u64, allowed: RangeInclusive<u64>) {
        if !allowed.contains(&value) {
            self.fault(
                path,
                format!(
                    "{value} is out of range; {} to {} are allowed",
                    allowed.start(),
                    allowed.end()
                ),
            );
        }
    }

    fn address(&mut self, path: &str, address: &str) -> Option<(String, u16)> {
        match split_host_port(address) {
            Ok((host, port)) => Some((host.to_owned(), port)),
            Err(message) => {
                self.fault(path, format!("{address:?}: {message}"));
                None
            }
        }
    }

    /// An address that others connect to.
    fn reachable(&mut self, path: &str, address: &str) {
        let Some((host, port)) = self.address(path, address) else {
            return;
        };
        if is_wildcard(&host) {
            self.fault(path, format!("{address:?}: nobody can connect to {host}"));
        }
        if port == 0 {
            self.fault(path, format!("{address:?}: nobody can connect to port 0"));
        }
    }
}

fn node(check: &mut Check, config: &Config) {
    let name = &config.node.name;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(good) {
        check.fault(
            "node.name",
            format!("use 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' or '.'"),
        );
    }
    if config.node.data_dir.as_os_str().is_empty() {
        check.fault("node.data_dir", "must not be empty");
    }
}

fn listen(check: &mut Check, config: &Config) {
    let listen = &config.listen;
    let all = [
        ("grpc", &listen.grpc, &listen.advertise_grpc),
        ("peer", &listen.peer, &listen.advertise_peer),
        ("admin", &listen.admin, &listen.advertise_admin),
        ("http", &listen.http, &listen.advertise_http),
    ];
    let mut taken: Vec<(&str, &str)> = Vec::new();
    for (name, address, advertised) in all {
        let path = format!("listen.{name}");
        // The one listener that a node can do without.
        if name == "http" && address.is_empty() {
            if !advertised.is_empty() {
                check.fault("listen.advertise_http", "is of no use without listen.http");
            }
            continue;
        }
        let parsed = check.address(&path, address);
        if let Some((_, port)) = &parsed {
            match taken.iter().find(|(_, other)| other == address) {
                Some((other, _)) if *port != 0 => {
                    check.fault(
                        &path,
                        format!("{address:?} is also listen.{other}; each needs its own"),
                    );
                }
                _ => taken.push((name, address)),
            }
        }
        if !advertised.is_empty() {
            check.reachable(&format!("listen.advertise_{name}"), advertised);
        } else if parsed.is_some_and(|(host, _)| is_wildcard(&host)) {
            check.fault(
                &path,
                format!(
                    "{address:?} listens everywhere; set listen.advertise_{name} to what others connect to"
                ),
            );
        }
    }
}

fn seeds(check: &mut Check, config: &Config) {
    for (at, seed) in config.cluster.seeds.iter().enumerate() {
        check.reachable("cluster.seeds", seed);
        if config.cluster.seeds[..at].contains(seed) {
            check.fault("cluster.seeds", format!("{seed:?} stands there twice"));
        }
    }
}

fn threads(check: &mut Check, config: &Config) {
    check.range("node.worker_threads", config.node.worker_threads, 0..=WORKERS_MAX);
}

fn storage(check: &mut Check, config: &Config) {
    let storage = &config.storage;
    check.range(
        "storage.checkpoint_bytes",
        storage.checkpoint_bytes,
        MIB..=4 * GIB,
    );
    check.range("storage.feed_bytes", storage.feed_bytes, MIB..=64 * GIB);
    check.range("storage.segment_bytes", storage.segment_bytes, 8 * MIB..=GIB);
    check.range("storage.log_cache_bytes", storage.log_cache_bytes, MIB..=TIB);
    check.range("storage.min_free_bytes", storage.min_free_bytes, 0..=TIB);
    check.range("storage.full_below_bytes", storage.full_below_bytes, 0..=TIB);
    check.range(
        "storage.scrub_every_ms",
        storage.scrub_every_ms,
        0..=31_536_000_000,
    );
}

fn raft(check: &mut Check, config: &Config) {
    let raft = &config.raft;
    check.range("raft.watch_interval_ms", raft.watch_interval_ms, 5..=1_000);
    check.range("raft.peer_silence_ms", raft.peer_silence_ms, 50..=60_000);
    check.range("raft.leader_lease_ms", raft.leader_lease_ms, 100..=60_000);
    check.range("raft.log_keep_entries", raft.log_keep_entries, 0..=100_000_000);
    check.range(
        "raft.verify_every_entries",
        raft.verify_every_entries,
        64..=1_000_000,
    );
    if raft.peer_silence_ms < raft.watch_interval_ms.saturating_mul(4) {
        let least = raft.watch_interval_ms.saturating_mul(4);
        check.fault(
            "raft.peer_silence_ms",
            format!(
                "{} is less than four times raft.watch_interval_ms; use at least {least}",
                raft.peer_silence_ms
            ),
        );
    }
    if raft.leader_lease_ms <= raft.peer_silence_ms {
        check.fault(
            "raft.leader_lease_ms",
            format!(
                "{} must be more than raft.peer_silence_ms, which is {}: it is only a backstop",
                raft.leader_lease_ms, raft.peer_silence_ms
            ),
        );
    }
}

fn limits(check: &mut Check, config: &Config) {
    let limits = &config.limits;
    check.range(
        "limits.grpc_connections_max",
        limits.grpc_connections_max,
        1..=1_000_000,
    );
    check.range(
        "limits.admin_connections_max",
        limits.admin_connections_max,
        1..=10_000,
    );
    check.range(
        "limits.http_connections_max",
        limits.http_connections_max,
        1..=1_000_000,
    );
    check.range("limits.requests_max", limits.requests_max, 1..=1_000_000);
    check.range("limits.watches_max", limits.watches_max, 1..=100_000);
    check.range("limits.proposals_max", limits.proposals_max, 1..=1_000_000);
    check.range("limits.key_waiters_max", limits.key_waiters_max, 1..=100_000);
    check.range("limits.deadline_max_ms", limits.deadline_max_ms, 100..=HOUR_MS);
    check.range(
        "limits.shutdown_grace_ms",
        limits.shutdown_grace_ms,
        100..=HOUR_MS,
    );
}

fn security(check: &mut Check, config: &Config) {
    let security = &config.security;
    let principal = &security.development_principal;
    if !principal.is_empty() && !security.is_development() {
        check.fault(
            "security.development_principal",
            "is refused in production mode; remove it",
        );
    }
    if principal.len() > NAME_BYTES_MAX || !principal.chars().all(|c| c.is_ascii_graphic()) {
        check.fault(
            "security.development_principal",
            format!("use at most {NAME_BYTES_MAX} visible ASCII characters"),
        );
    }
}

fn development(check: &mut Check, config: &Config) {
    if config.development.previous_release && !config.security.is_development() {
        let advice = "is refused in production mode; remove it";
        check.fault("development.previous_release", advice);
    }
    if config.development.tamper && !config.security.is_development() {
        check.fault("development.tamper", "is refused in production mode; remove it");
    }
    let dial = &config.development.dial;
    if !dial.is_empty() && !config.security.is_development() {
        check.fault("development.dial", "is refused in production mode; remove it");
    }
    for (at, pair) in dial.iter().enumerate() {
        let Some((peer, instead)) = pair.split_once('=') else {
            check.fault("development.dial", format!("{pair:?}: write it as peer=instead"));
            continue;
        };
        check.reachable("development.dial", peer);
        check.reachable("development.dial", instead);
        let before = dial[..at].iter().filter_map(|pair| pair.split_once('='));
        if before.map(|(peer, _)| peer).any(|other| other == peer) {
            check.fault("development.dial", format!("{peer:?} stands there twice"));
        }
    }
}
