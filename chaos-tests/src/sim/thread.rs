//! Each run stands alone: a thread of its own, no other run beside it, and the same start whatever ran before.
//!
//! Thread-local state is fresh in a fresh thread. What is left is tokio's counter of task ids: a runtime keeps its
//! tasks in shards by id and ends them shard by shard, so that a crashed host's tasks end in an order that depends
//! on how many tasks the process has ever had. The counter is brought to a round number first.

use parking_lot::Mutex;

use super::{SimOptions, SimReport, panics};

/// Deep futures of a whole cluster are polled on this stack.
const STACK_BYTES: usize = 16 << 20;
/// A multiple of any number of shards that a single-threaded runtime has (4 today).
const TASK_IDS_ROUND: u64 = 1_024;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(super) fn alone(
    options: &SimOptions,
    run: impl FnOnce(&SimOptions) -> SimReport + Send + 'static,
) -> SimReport {
    let problem = |problem: String| SimReport::not_begun(options.seed, problem);
    let _alone = ONE_AT_A_TIME.lock();
    let own = options.clone();
    let work = move || {
        round_task_ids()?;
        panics::watch();
        spine_consensus::seed_this_thread(own.seed);
        let began_ms = cpu_ms();
        let mut report = run(&own);
        report.cpu_ms = cpu_ms() - began_ms;
        Ok::<_, std::io::Error>(report)
    };
    let thread = std::thread::Builder::new()
        .name("simulation".to_owned())
        .stack_size(STACK_BYTES);
    match thread.spawn(work).map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(report))) => report,
        Ok(Err(_)) => problem("the run itself panicked, see above".to_owned()),
        Ok(Ok(Err(error))) | Err(error) => problem(format!("the run could not begin: {error}")),
    }
}

/// Time of a processor that this thread has used.
fn cpu_ms() -> u64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let ms = used.tv_sec * 1_000 + used.tv_nsec / 1_000_000;
    u64::try_from(ms).unwrap_or(0)
}

fn round_task_ids() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        loop {
            let id = tokio::spawn(async { tokio::task::id() })
                .await
                .map_err(std::io::Error::other)?;
            let id: u64 = id.to_string().parse().map_err(std::io::Error::other)?;
            if (id + 1).is_multiple_of(TASK_IDS_ROUND) {
                return Ok(());
            }
        }
    })
}
