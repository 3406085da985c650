//! The command line of `spine-node`.

use std::path::PathBuf;

use clap::Parser;
use spine_cluster_config::{Config, ConfigError, Sources};

use crate::version;

/// One server process of a Spine cluster.
///
/// Settings: defaults < --config file < SPINE_SECTION__KEY environment < --set.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "spine-node", version = version::LONG)]
pub struct Args {
    /// TOML file with the node's settings.
    #[arg(long, value_name = "FILE", env = "SPINE_CONFIG")]
    pub config: Option<PathBuf>,

    /// One setting, stronger than file and environment; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Check the settings, say every fault, and exit: 0 if a node would start with them, 2 if not.
    #[arg(long)]
    pub check_config: bool,

    /// Print the settings in force as TOML and exit.
    #[arg(long, conflicts_with = "check_config")]
    pub print_config: bool,

    /// Print a commented file with every default and exit.
    #[arg(long, conflicts_with_all = ["check_config", "print_config"])]
    pub example_config: bool,
}

impl Args {
    /// The settings these arguments and this process's environment stand for.
    ///
    /// # Errors
    /// All faults of the settings at once.
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&Sources::of_process(self.config.clone(), self.set.clone()))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn version_prints_release_commit_format_and_wire() {
        let text = Args::command().render_long_version();
        for part in ["spine-node ", "\ncommit ", "\nstored format 1\n", "\nwire 1 to 1"] {
            assert!(text.contains(part), "{part:?} is missing in {text:?}");
        }
    }

    #[test]
    fn flags_reach_the_configuration() {
        let args = Args::try_parse_from([
            "spine-node",
            "--set",
            "node.name=seven",
            "--set",
            "security.mode=development",
        ])
        .unwrap();
        let config = args.load().unwrap();
        assert_eq!(config.node.name, "seven");
        assert!(config.security.is_development());
    }

    #[test]
    fn one_thing_is_asked_at_a_time() {
        Args::try_parse_from(["spine-node", "--check-config", "--example-config"]).unwrap_err();
    }
}
