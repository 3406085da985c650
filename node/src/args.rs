//! The command line of `spine-node`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Parser;
use spine_cluster_config::{Config, ConfigError, Sources, example};

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

    /// Answers what needs no node: `--check-config`, `--print-config`, `--example-config`. The exit code, or `None`
    /// where a node is to be started.
    ///
    /// # Errors
    /// What `out` or `err` say, for example a closed pipe.
    pub fn answer(&self, out: &mut impl Write, err: &mut impl Write) -> io::Result<Option<u8>> {
        if self.example_config {
            out.write_all(example().as_bytes())?;
            return Ok(Some(0));
        }
        if !self.check_config && !self.print_config {
            return Ok(None);
        }
        let startable = |config: &Config| {
            if self.check_config {
                config.check_start()
            } else {
                Ok(())
            }
        };
        match self.load().and_then(|config| startable(&config).map(|()| config)) {
            Ok(config) if self.print_config => out.write_all(config.to_toml().as_bytes())?,
            Ok(config) => {
                config
                    .warnings()
                    .iter()
                    .try_for_each(|warning| writeln!(err, "warning: {warning}"))?;
                writeln!(out, "the configuration is good")?;
            }
            Err(error) => {
                writeln!(err, "{error}")?;
                return Ok(Some(EXIT_CONFIG));
            }
        }
        Ok(Some(0))
    }
}

/// Exit code for settings that cannot be used, as for a wrong command line.
pub const EXIT_CONFIG: u8 = 2;

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
        for part in [
            "spine-node ",
            "\ncommit ",
            "\nstored format 1\n",
            "\nwire 1 to 1\n",
            "\nlevels 0 to 2",
        ] {
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

    fn answer(arguments: &[&str]) -> (Option<u8>, String, String) {
        let args = Args::try_parse_from([&["spine-node"], arguments].concat()).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = args.answer(&mut out, &mut err).unwrap();
        (
            code,
            String::from_utf8(out).unwrap(),
            String::from_utf8(err).unwrap(),
        )
    }

    #[test]
    fn a_node_starts_unless_something_else_is_asked() {
        assert_eq!(answer(&[]), (None, String::new(), String::new()));
    }

    #[test]
    fn good_settings_are_called_good_and_development_is_loud() {
        let (code, out, err) = answer(&["--check-config", "--set", "security.mode=development"]);
        assert_eq!((code, out.as_str()), (Some(0), "the configuration is good\n"));
        assert!(err.starts_with("warning: DEVELOPMENT MODE"), "{err}");
    }

    #[test]
    fn settings_that_cannot_start_a_node_are_refused() {
        let (code, out, err) = answer(&["--check-config"]);
        assert_eq!((code, out.as_str()), (Some(2), ""));
        assert!(err.contains("needs TLS"), "{err}");
        let (code, _, err) = answer(&["--check-config", "--set", "node.nam=x"]);
        assert_eq!(code, Some(2));
        assert!(
            err.contains("node.nam: unknown key; did you mean node.name? (--set)"),
            "{err}"
        );
    }

    #[test]
    fn settings_can_be_shown() {
        let (code, out, _) = answer(&["--print-config", "--set", "node.name=seven"]);
        assert_eq!(code, Some(0));
        assert!(out.contains("name = \"seven\""), "{out}");
        assert_eq!(answer(&["--example-config"]).1, example());
    }

    #[test]
    fn one_thing_is_asked_at_a_time() {
        Args::try_parse_from(["spine-node", "--check-config", "--example-config"]).unwrap_err();
    }
}
