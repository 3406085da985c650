//! What came of a run.

use std::fmt;

use serde::Serialize;

use super::moves::Moves;
use super::trace::Trace;
use super::world::World;
use crate::checkers::Report;
use crate::history::{Operation, Recorder};
use crate::report::{FaultEvent, Journal};
use crate::scenario::{Scenario, Skipped, Supports};

#[derive(Clone, Debug, Serialize)]
pub struct SimReport {
    pub seed: u64,
    /// Of everything observable; equal for every run of a seed.
    pub hash: String,
    pub virtual_ms: u64,
    /// What the run cost, of one processor.
    pub cpu_ms: u64,
    /// Those carried out.
    pub faults: usize,
    /// Those of the scenario that could not be, and why.
    pub skipped: Vec<String>,
    pub terms: usize,
    /// New leaders that nobody asked for; counted where one group runs alone.
    pub moves: Moves,
    pub report: Option<Report>,
    /// Why the run failed; none = it passed.
    pub problem: Option<String>,
    #[serde(skip)]
    pub lines: Vec<String>,
    /// For the HTML report of a run that failed.
    #[serde(skip)]
    pub journal: Journal,
}

impl SimReport {
    /// A run that did not even begin.
    pub(super) fn not_begun(seed: u64, problem: String) -> Self {
        Self {
            seed,
            hash: String::new(),
            virtual_ms: 0,
            cpu_ms: 0,
            faults: 0,
            skipped: Vec::new(),
            terms: 0,
            moves: Moves::default(),
            report: None,
            problem: Some(problem),
            lines: Vec::new(),
            journal: Journal::default(),
        }
    }

    #[must_use]
    pub fn passed(&self) -> bool {
        self.problem.is_none()
    }
}

impl fmt::Display for SimReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            hash,
            virtual_ms,
            faults,
            terms,
            ..
        } = self;
        let (operations, acknowledged) = self
            .report
            .as_ref()
            .map_or((0, 0), |report| (report.operations, report.acknowledged));
        write!(
            f,
            "seed {seed} hash {hash} {virtual_ms} ms virtual, {faults} faults, {terms} terms, \
             {operations} calls, {acknowledged} acknowledged: {}",
            self.problem.as_deref().unwrap_or("passed")
        )?;
        match self.moves.unexplained {
            0 => Ok(()),
            moves => write!(f, ", {moves} moves that no event accounts for"),
        }
    }
}

/// What a run carries out of its scenario, and what it says that it leaves out.
pub(super) struct Plan {
    pub(super) scenario: Scenario,
    skipped: Vec<Skipped>,
}

impl Plan {
    pub(super) fn of(scenario: &Scenario, supports: Supports) -> Self {
        let (scenario, skipped) = scenario.split(supports);
        Self { scenario, skipped }
    }

    /// Puts every step at the head of a trace.
    pub(super) fn note(&self, trace: &Trace) {
        for step in &self.scenario.steps {
            trace.note(0, format_args!("plan {step}"));
        }
        for skipped in &self.skipped {
            trace.note(0, format_args!("{skipped}"));
        }
    }
}

/// Notes the history, which belongs to what must repeat, and sums up.
pub(super) fn finish(
    plan: &Plan,
    ended: Result<Report, String>,
    world: &World,
    recorder: &Recorder,
    trace: &Trace,
) -> SimReport {
    for operation in recorder.operations() {
        let Operation {
            id,
            client,
            key,
            action,
            outcome,
            invoked,
            returned,
            ..
        } = &operation;
        trace.note(
            operation.invoked_ns / 1_000_000,
            format_args!(
                "call {id} client {} {key} {action:?} -> {outcome:?} ({invoked}..{returned:?})",
                client.0
            ),
        );
    }
    let problem = match &ended {
        Ok(report) => report.violations.first().map(ToString::to_string),
        Err(problem) => Some(problem.clone()),
    };
    if let Some(problem) = &problem {
        trace.note(world.now_ms(), format_args!("FAILED {problem}"));
    }
    SimReport {
        seed: plan.scenario.seed,
        hash: trace.hash(),
        virtual_ms: world.now_ms(),
        cpu_ms: 0,
        faults: plan.scenario.steps.len(),
        skipped: plan.skipped.iter().map(ToString::to_string).collect(),
        terms: world.invariants.terms_led(),
        moves: Moves::default(),
        journal: journal(plan, ended.as_ref().ok(), recorder),
        report: ended.ok(),
        problem,
        lines: trace.take_lines(),
    }
}

/// What the report of a failed run shows. Planned times count from the first call.
fn journal(plan: &Plan, report: Option<&Report>, recorder: &Recorder) -> Journal {
    let journal = Journal::default();
    let operations = recorder.operations();
    let began = operations.first().map_or(0, |first| first.invoked_ns);
    let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let faults = plan.scenario.steps.iter().map(|step| FaultEvent {
        at_ns: began.saturating_add(ns(step.at)),
        until_ns: Some(began.saturating_add(ns(step.at + step.lasts))),
        text: step.fault.to_string(),
    });
    journal.keep_faults(faults.collect());
    journal.keep_history(&operations, report.map_or(&[][..], |report| &report.violations));
    journal
}
