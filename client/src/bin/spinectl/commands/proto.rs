//! `spinectl proto export`.

use std::io::IsTerminal as _;

use crate::args::Proto;
use crate::exit::{Exit, Failure};
use crate::output::{data, talk};

pub(crate) fn run(command: Proto) -> Result<Exit, Failure> {
    let Proto::Export { out } = command;
    match out {
        Some(path) => {
            std::fs::write(&path, spine_proto::DESCRIPTORS).map_err(Failure::io(path.display()))?;
            talk(format_args!(
                "{} bytes in {}",
                spine_proto::DESCRIPTORS.len(),
                path.display()
            ));
        }
        None if std::io::stdout().is_terminal() => {
            return Err(Failure::usage(
                "these are binary: redirect stdout or give --out FILE",
            ));
        }
        None => data(spine_proto::DESCRIPTORS)?,
    }
    Ok(Exit::Ok)
}
