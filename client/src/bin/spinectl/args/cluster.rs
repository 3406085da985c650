//! What operators do to a cluster and its nodes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::duration;

#[derive(Subcommand)]
pub(crate) enum Cluster {
    /// Makes one cluster of new nodes. Repeating it is harmless.
    Init {
        /// Peer addresses of all nodes; without them every endpoint is asked for its own.
        #[arg(long, value_delimiter = ',')]
        peers: Vec<String>,
        /// Data shards; 0 means 8.
        #[arg(long, default_value_t = 0)]
        shards: u32,
        /// Replicas of each shard; 0 means 3, or 1 for a single node.
        #[arg(long, default_value_t = 0)]
        replicas: u32,
    },
    /// Health at a glance. Exits 0 healthy, 1 degraded but serving, 2 not serving.
    Status {
        /// Wait so long for it to become healthy.
        #[arg(long, value_parser = duration)]
        wait: Option<Duration>,
    },
    /// Which replicas move now, and which `cluster apply` would move.
    Plan,
    /// Moves replicas until nodes and zones carry as much as each other. Waits; interrupted, it goes on by itself.
    #[command(visible_alias = "balance")]
    Apply {
        /// Wait at most so long.
        #[arg(long, value_parser = duration, default_value = "1h")]
        wait: Duration,
    },
    /// Begins a new incarnation of a cluster that lost its majority for good, from what the nodes at the endpoints have. No
    /// way back.
    Recover {
        /// What only the lost nodes had is lost.
        #[arg(long)]
        accept_data_loss: bool,
        /// Take back what an earlier try held, where no node has begun: those at the endpoints end, and are as before once
        /// they are started again.
        #[arg(long, conflicts_with = "accept_data_loss")]
        release: bool,
    },
    /// The cluster's log time.
    Time {
        /// Move it forward; development mode only: 15m, 2h.
        #[arg(long, value_parser = duration)]
        advance: Option<Duration>,
        /// Move the clock of this node only, by its gRPC address: it is then apart from its peers'.
        #[arg(long, value_name = "ADDRESS", requires = "advance")]
        node: Option<String>,
    },
}

#[derive(Subcommand)]
pub(crate) enum Node {
    /// State, memory, disk and shards of every endpoint.
    Status,
    /// Hands over everything that a node leads and keeps it from leading, until undone or restarted.
    Drain {
        /// gRPC address of the node.
        address: String,
        /// Let it lead again.
        #[arg(long)]
        undo: bool,
    },
    /// Prints a token with which one new node can join, and how to start that node.
    Add {
        /// How long the token is good: 10m, 1h; at most 168h.
        #[arg(long = "for", value_name = "DURATION", value_parser = duration, default_value = "1h")]
        lifetime: Duration,
    },
    /// Empties a living node and lets go of it. Waits until that is done; interrupted, it goes on by itself.
    Decommission {
        /// Number of the node, as `cluster status` shows it.
        node_id: u64,
        /// Let it take replicas again instead.
        #[arg(long)]
        undo: bool,
        /// Wait at most so long.
        #[arg(long, value_parser = duration, default_value = "1h")]
        wait: Duration,
    },
    /// Gives up a dead node for good and makes what it had anew on others. Waits until that is done.
    Replace {
        /// Number of the node, as `cluster status` shows it. It never comes back under this number.
        node_id: u64,
        /// Wait at most so long.
        #[arg(long, value_parser = duration, default_value = "1h")]
        wait: Duration,
    },
}

#[derive(Subcommand)]
pub(crate) enum Upgrade {
    /// What an upgrade would do, and what keeps it from beginning; exits 5 if something does.
    Plan {
        /// The spine-node program that nodes are to get.
        #[arg(long, value_name = "PATH")]
        binary: PathBuf,
    },
    /// Restarts one node after the other on another program. Where a check fails, those that were done go back. Begun
    /// again with the same --state it goes on where it was.
    Apply {
        /// The spine-node program that nodes get; the same one for a restart without an upgrade.
        #[arg(long, value_name = "PATH")]
        binary: PathBuf,
        /// The program that they run now: the way back. Without it a check that fails ends the upgrade where it is.
        #[arg(long, value_name = "PATH")]
        from: Option<PathBuf>,
        #[command(flatten)]
        carried: Carried,
    },
    /// Takes every node that an upgrade has restarted back to the program that it had.
    Rollback {
        #[command(flatten)]
        carried: Carried,
    },
    /// Lets all shards follow the rules that the new release brought. There is no way back from it. Exits 5 where
    /// something is in the way; begun again it goes on where it was.
    Finalize {
        /// The file of the upgrade that it ends, if it is there.
        #[arg(long, value_name = "FILE", default_value = UPGRADE_STATE)]
        state: PathBuf,
    },
    /// How far an upgrade has come.
    Status {
        /// Its file.
        #[arg(long, value_name = "FILE", default_value = UPGRADE_STATE)]
        state: PathBuf,
    },
}

/// How an upgrade acts, and what it remembers.
#[derive(clap::Args)]
pub(crate) struct Carried {
    /// Shell command that stops a node and starts it on a program; it is told which by SPINE_NODE_ID, SPINE_NODE_GRPC,
    /// SPINE_NODE_ADMIN and SPINE_BINARY, and exits with 0 once the node was started.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) hook: String,
    /// Where it notes how far it has come.
    #[arg(long, value_name = "FILE", default_value = UPGRADE_STATE)]
    pub(crate) state: PathBuf,
}

/// In the directory in which the upgrade is begun.
const UPGRADE_STATE: &str = "spine-upgrade.json";

#[derive(Subcommand)]
pub(crate) enum Shard {
    /// Every shard with its slots, leader and replicas.
    List,
    /// Checkpoints a shard on every endpoint and purges its log up to there.
    Compact {
        /// One shard; without it all of them.
        shard: Option<u32>,
    },
}
