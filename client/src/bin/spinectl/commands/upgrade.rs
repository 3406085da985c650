//! `spinectl upgrade plan|apply|rollback|finalize|status`.

mod finalize;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::json;
use spine_client::SpineClient;
use spine_client::upgrade::{
    Failure as Ended, LiveFleet, Phase, Program, Progress, Refusal, Restart, Roll, Timings, refusals,
    unknown_level,
};
use spine_proto::admin::v1::{GetClusterStatusResponse, NodeSummary};
use tokio::process::Command;
use tokio::time::timeout;

use crate::args::{Carried, Upgrade};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{emit, talk};

/// A hook stops a node, which may take the whole of its grace, and starts it.
const HOOK_TIME: Duration = Duration::from_secs(120);
/// `spine-node --version` needs nothing.
const VERSION_TIME: Duration = Duration::from_secs(10);

pub(crate) async fn run(context: &Context, command: Upgrade) -> Result<Exit, Failure> {
    match command {
        Upgrade::Plan { binary } => plan(context, &binary).await,
        Upgrade::Apply {
            binary,
            from,
            carried,
        } => {
            let _alone = lock(&carried.state)?;
            apply(context, binary, from, &carried).await
        }
        Upgrade::Rollback { carried } => {
            let _alone = lock(&carried.state)?;
            rollback(context, &carried).await
        }
        Upgrade::Finalize { state } => {
            // Without a file there is nothing that another one could carry out.
            let _alone = state.exists().then(|| lock(&state)).transpose()?;
            finalize::finalize(context, &state).await
        }
        Upgrade::Status { state } => status(context, &state),
    }
}

async fn plan(context: &Context, binary: &Path) -> Result<Exit, Failure> {
    let program = program(&absolute(binary)?).await?;
    let client = context.client()?;
    let cluster = cluster(context, &client).await?;
    let mut nodes = BTreeMap::new();
    for node in &cluster.nodes {
        let admin = client.admin(&node.grpc_address)?.with_deadline(context.timeout());
        if let Ok(said) = admin.node_status().await {
            nodes.insert(node.node_id, said);
        }
    }
    let why = refusals(&cluster, &nodes, Some(&program));
    let order: Vec<&NodeSummary> = cluster.nodes.iter().collect();
    let json = json!({
        "cluster_id": cluster.cluster_id,
        "release": program.release,
        "commit": program.commit,
        "nodes": order.iter().map(|node| json!({
            "node_id": node.node_id,
            "grpc_address": node.grpc_address,
            "release": node.release,
        })).collect::<Vec<_>>(),
        "refusals": why.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    emit(context.format, &json, || {
        let mut text = format!("to release {} of commit {}\n", program.release, program.commit);
        for node in &order {
            text.push_str(&format!(
                "  node {} at {}, now release {}\n",
                node.node_id, node.grpc_address, node.release
            ));
        }
        text.push_str(&why_not(&why));
        text
    })?;
    Ok(if why.is_empty() {
        Exit::Ok
    } else {
        Exit::Unavailable
    })
}

/// As a node sees it that knows its cluster; one that has just started does not yet.
async fn cluster(context: &Context, client: &SpineClient) -> Result<GetClusterStatusResponse, Failure> {
    let asked = context
        .ask_each(client, |admin| async move { admin.cluster_status().await })
        .await?;
    let mut failed = None;
    for (_, answer) in asked {
        match answer {
            Ok(status) if !status.cluster_id.is_empty() => return Ok(status),
            Ok(_) => {}
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.map_or_else(|| unavailable("no cluster was found".to_owned()), Failure::from))
}

fn unavailable(message: String) -> Failure {
    Failure {
        exit: Exit::Unavailable,
        message,
    }
}

fn why_not(refusals: &[Refusal]) -> String {
    if refusals.is_empty() {
        return "nothing keeps it from beginning".to_owned();
    }
    let lines: Vec<String> = refusals.iter().map(|why| format!("  {why}")).collect();
    format!("not now:\n{}", lines.join("\n"))
}

async fn apply(
    context: &Context,
    binary: PathBuf,
    from: Option<PathBuf>,
    carried: &Carried,
) -> Result<Exit, Failure> {
    let binary = absolute(&binary)?;
    let from = from.as_deref().map(absolute).transpose()?;
    let client = context.client()?;
    let cluster = cluster(context, &client).await?;
    let mut progress = match read_state(&carried.state)? {
        Some(before) if !before.has_ended() => {
            // The way back stays the one that it was begun with: the first nodes run another program by now.
            if before.cluster_id != cluster.cluster_id || before.to != binary {
                return Err(conflict(format!(
                    "{} is of another upgrade that has not ended: finish it, or take it back with `upgrade rollback`",
                    carried.state.display()
                )));
            }
            talk(format_args!("going on with an upgrade that was begun before"));
            before
        }
        _ => Progress::new(cluster.cluster_id, from, binary),
    };
    carry_out(context, carried, &mut progress).await
}

async fn rollback(context: &Context, carried: &Carried) -> Result<Exit, Failure> {
    let mut progress = read_state(&carried.state)?.ok_or_else(|| Failure {
        exit: Exit::NotFound,
        message: format!("no upgrade is noted in {}", carried.state.display()),
    })?;
    check_way_back(context, &progress).await?;
    if matches!(progress.phase, Phase::Forward | Phase::Done) {
        progress.turn_back("asked for");
        write_state(&carried.state, &progress).map_err(Failure::io("note the progress"))?;
    }
    match carry_out(context, carried, &mut progress).await {
        // What was asked for.
        Ok(Exit::Generic) => Ok(Exit::Ok),
        other => other,
    }
}

/// Nothing is noted or done where the nodes could not run what they ran before.
async fn check_way_back(context: &Context, progress: &Progress) -> Result<(), Failure> {
    let from = progress.from.as_ref().ok_or_else(|| {
        conflict("the program that the nodes had was not named: there is no way back".to_owned())
    })?;
    if let Phase::Finalized { level } = progress.phase {
        return Err(conflict(format!(
            "the upgrade was finalized at level {level}: there is no way back; a program that knows the level is \
             installed with `upgrade apply`"
        )));
    }
    let cluster = cluster(context, &context.client()?).await?;
    match unknown_level(&cluster, &program(from).await?) {
        Some(unknown) => Err(conflict(format!("{unknown}: there is no way back"))),
        None => Ok(()),
    }
}

async fn carry_out(context: &Context, carried: &Carried, progress: &mut Progress) -> Result<Exit, Failure> {
    let to = program(&progress.to).await?;
    let from = match &progress.from {
        Some(path) => Some(program(path).await?),
        None => None,
    };
    let hook = Hook {
        command: carried.hook.clone(),
        limit: HOOK_TIME,
    };
    let client_of = |address: &str| context.client_of(&[address.to_owned()]);
    let mut fleet = LiveFleet::new(context.client()?, client_of, hook);
    let mut roll = Roll {
        fleet: &mut fleet,
        to: Some(to),
        from,
        timings: Timings::default(),
        note: &mut |progress| write_state(&carried.state, progress),
        tell: &mut |node, step| talk(format_args!("node {node} {step}")),
    };
    let ended = roll.run(progress).await;
    let (exit, text) = match ended {
        Ok(()) => (Exit::Ok, format!("all nodes run {}", progress.to.display())),
        Err(Ended::RolledBack(why)) => (
            Exit::Generic,
            format!("all nodes run again what they ran before: {why}"),
        ),
        Err(ended @ Ended::Refused(_)) => return Err(unavailable(ended.to_string())),
        Err(ended) => return Err(Failure::generic(ended.to_string())),
    };
    emit(context.format, &to_json(progress), || text)?;
    Ok(exit)
}

fn status(context: &Context, state: &Path) -> Result<Exit, Failure> {
    let Some(progress) = read_state(state)? else {
        return Err(Failure {
            exit: Exit::NotFound,
            message: format!("no upgrade is noted in {}", state.display()),
        });
    };
    emit(context.format, &to_json(&progress), || {
        let (phase, reason) = phase(&progress);
        let mut text = format!("to {}: {phase}", progress.to.display());
        if let Some(reason) = reason {
            text.push_str(&format!(" ({reason})"));
        }
        text.push_str(&format!("\nnodes on it: {:?}", progress.done));
        if let Some(node) = progress.under_way {
            text.push_str(&format!("\nnode {node} was being restarted"));
        }
        text
    })?;
    Ok(Exit::Ok)
}

fn phase(progress: &Progress) -> (&'static str, Option<&str>) {
    match &progress.phase {
        Phase::Forward => ("under way", None),
        Phase::Back { reason } => ("on the way back", Some(reason)),
        Phase::Done => ("done", None),
        Phase::Finalized { .. } => ("finalized", None),
        Phase::RolledBack { reason } => ("rolled back", Some(reason)),
    }
}

fn to_json(progress: &Progress) -> serde_json::Value {
    let (phase, reason) = phase(progress);
    json!({
        "cluster_id": progress.cluster_id,
        "phase": phase,
        "reason": reason,
        "from": progress.from,
        "to": progress.to,
        "nodes_done": progress.done,
        "node_under_way": progress.under_way,
    })
}

fn conflict(message: String) -> Failure {
    Failure {
        exit: Exit::Conflict,
        message,
    }
}

/// A hook may run elsewhere than this process does.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(Failure::io(path.display()))
}

async fn program(path: &Path) -> Result<Program, Failure> {
    let said = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let said = timeout(VERSION_TIME, said).await;
    let said = said.map_err(|_| Failure::generic(format!("{} --version does not end", path.display())))?;
    let said = said.map_err(Failure::io(path.display()))?;
    let text = String::from_utf8_lossy(&said.stdout);
    Program::parse(path, &text).map_err(|error| Failure::usage(error.to_string()))
}

/// Restarts a node as the operator says.
struct Hook {
    /// For a shell.
    command: String,
    /// It is ended after so long.
    limit: Duration,
}

impl Restart for Hook {
    async fn restart(&mut self, node: &NodeSummary, program: &Path) -> Result<(), String> {
        // Its talk is ours: data alone goes to stdout.
        let running = Command::new("sh")
            .args(["-c", &self.command])
            .env("SPINE_NODE_ID", node.node_id.to_string())
            .env("SPINE_NODE_GRPC", &node.grpc_address)
            .env("SPINE_NODE_ADMIN", &node.admin_address)
            .env("SPINE_BINARY", program)
            .stdin(Stdio::null())
            .stdout(io::stderr())
            .kill_on_drop(true)
            .status();
        match timeout(self.limit, running).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("the hook ended with {}", said(status))),
            Ok(Err(error)) => Err(format!("the hook could not be run: {error}")),
            Err(_) => Err(format!("the hook did not end within {} s", self.limit.as_secs())),
        }
    }
}

fn said(status: ExitStatus) -> String {
    status
        .code()
        .map_or_else(|| status.to_string(), |code| format!("code {code}"))
}

/// Held until the run has ended, however it ends: two at a time would each restart a node while the other's is down. A hook
/// does not inherit it. The file stays, as whoever opened it before it was removed would be alone with it.
fn lock(state: &Path) -> Result<File, Failure> {
    let mut path = state.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let mut options = File::options();
    let opened = options.write(true).create(true).truncate(false).open(&path);
    let file = opened.map_err(Failure::io(path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(conflict(format!(
            "another spinectl carries out the upgrade of {}: nothing was done",
            state.display()
        ))),
        Err(TryLockError::Error(error)) => Err(Failure::io(path.display())(error)),
    }
}

fn read_state(path: &Path) -> Result<Option<Progress>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Progress::decode(&text)
            .map(Some)
            .map_err(|error| Failure::generic(format!("{}: {error}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io(path.display())(error)),
    }
}

/// The old file or the new one, whenever the power goes.
fn write_state(path: &Path, progress: &Progress) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let next = path.with_extension("new");
    let mut file = File::create(&next)?;
    file.write_all(progress.encode().as_bytes())?;
    file.sync_all()?;
    fs::rename(&next, &path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn one_tool_at_a_time_carries_an_upgrade_out() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("upgrade.json");
        let first = lock(&state).unwrap();
        let second = lock(&state).unwrap_err();
        assert_eq!(second.exit, Exit::Conflict);
        assert!(second.message.contains("another spinectl"), "{}", second.message);
        assert!(lock(&dir.path().join("other.json")).is_ok());
        drop(first);
        assert!(lock(&state).is_ok());
        assert!(!state.exists(), "nothing is noted by that");
    }

    #[test]
    fn nothing_is_locked_where_nothing_can_be_noted() {
        let dir = tempfile::tempdir().unwrap();
        let nowhere = lock(&dir.path().join("nowhere/upgrade.json")).unwrap_err();
        assert_eq!(nowhere.exit, Exit::NotFound);
    }

    /// What comes of a hook for node 7.
    async fn restarted(command: String, limit: Duration) -> Result<(), String> {
        let node = NodeSummary {
            node_id: 7,
            grpc_address: "host:7401".to_owned(),
            admin_address: "host:7601".to_owned(),
            ..NodeSummary::default()
        };
        let mut hook = Hook { command, limit };
        hook.restart(&node, Path::new("/opt/a release/spine-node")).await
    }

    #[tokio::test]
    async fn a_hook_is_told_which_node_and_which_program() {
        let dir = tempfile::tempdir().unwrap();
        let told = dir.path().join("told");
        let names = r#""$SPINE_NODE_ID" "$SPINE_NODE_GRPC" "$SPINE_NODE_ADMIN" "$SPINE_BINARY""#;
        let hook = format!("printf '%s\\n' {names} >'{}'", told.display());
        restarted(hook, HOOK_TIME).await.unwrap();
        let told = fs::read_to_string(told).unwrap();
        assert_eq!(told, "7\nhost:7401\nhost:7601\n/opt/a release/spine-node\n");
    }

    #[tokio::test]
    async fn a_hook_that_fails_says_how_it_ended() {
        for (hook, why) in [
            ("exit 3", "the hook ended with code 3"),
            (
                "no-such-program-of-ours 2>/dev/null",
                "the hook ended with code 127",
            ),
            ("kill -KILL $$", "the hook ended with signal: 9 (SIGKILL)"),
        ] {
            let failed = restarted(hook.to_owned(), HOOK_TIME).await;
            assert_eq!(failed, Err(why.to_owned()), "{hook}");
        }
    }

    #[tokio::test]
    async fn a_hook_that_hangs_is_ended_at_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let noted = dir.path().join("process");
        let hook = format!("echo $$ >'{}'; exec sleep 60", noted.display());
        let (limit, soon) = (Duration::from_secs(1), Duration::from_secs(20));
        let began = Instant::now();
        let failed = restarted(hook, limit).await;
        assert_eq!(failed, Err("the hook did not end within 1 s".to_owned()));
        assert!((limit..soon).contains(&began.elapsed()));
        let process = fs::read_to_string(noted).unwrap();
        // Signalled and not yet waited for, it is a zombie for a moment.
        let stat = PathBuf::from(format!("/proc/{}/stat", process.trim()));
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(began.elapsed() < soon, "the hook still runs");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
