//! One file for each noun.

mod bench;
mod cluster;
mod demo;
mod events;
mod members;
mod moves;
mod node;
mod organisation;
mod patient;
mod patient_load;
mod patient_watch;
mod people;
mod population;
mod proto;
mod records;
mod recover;
mod shard;
mod upgrade;

use clap::CommandFactory as _;

use crate::args::{Args, Command};
use crate::context::Context;
use crate::exit::{Exit, Failure};

/// Carries out one command.
pub(crate) async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Cluster(command) => cluster::run(context, command).await,
        Command::Node(command) => node::run(context, &command).await,
        Command::Upgrade(command) => upgrade::run(context, command).await,
        Command::Shard(command) => shard::run(context, command).await,
        Command::Organisation(command) => organisation::run(context, command).await,
        Command::Patient(command) => patient::run(context, command).await,
        Command::Records(command) => records::run(context, command).await,
        Command::Population(command) => population::run(command),
        Command::Bench(arguments) => bench::run(context, arguments).await,
        Command::Demo(arguments) => demo::run(context, arguments).await,
        Command::Proto(command) => proto::run(command),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "spinectl", &mut text);
            crate::output::data(&text)?;
            Ok(Exit::Ok)
        }
    }
}
