//! One file for each row.

mod bench_etcd;
mod bytes;
mod callers;
mod catch_up_after_purge;
mod clients;
mod damage_200;
mod demo;
mod determinism;
mod digest;
mod disk_faults_fuse;
mod disk_full;
mod disk_stall;
mod divergence;
mod feed_resume;
mod forged_evidence;
mod fsync_before_ack;
mod gap;
mod gap_http;
mod garbage;
mod golden_dirs;
mod idle_64;
mod kill_all;
mod kill_one;
mod leadership;
mod limits;
mod load_1m;
mod load_bad_lines;
mod members;
mod mutants;
mod names_on_disk;
mod new_replica_1m;
mod newcomers;
mod overload;
mod patients;
mod pds_cases;
mod pds_errors;
mod pds_people_rules;
mod pds_rules;
mod planner_300;
mod powercut_fuse;
mod powercut_sim;
mod quiet_under_load;
mod restart_1m;
mod retrieve_http;
mod roll_20;
mod roll_faults;
mod roll_http;
mod roll_resume;
mod roll_steps;
mod rollback_formats;
mod rolling;
mod scale_10k_1m;
mod seeds;
mod seeds_changing;
mod seeds_run;
mod soak_10m;
mod stale_leader;
mod start_stop;
mod status_tells;
mod support;
mod trace_1m;
mod watch;

use super::Row;

/// Every row, in the order of the table.
pub const ROWS: &[Row] = &[
    start_stop::ROW,
    demo::ROW,
    kill_one::ROW,
    kill_all::ROW,
    watch::ROW,
    stale_leader::ROW,
    catch_up_after_purge::ROW,
    garbage::ROW,
    limits::ROW,
    load_bad_lines::ROW,
    fsync_before_ack::ROW,
    powercut_sim::ROW,
    determinism::ROW,
    gap::NONE,
    gap::KILL,
    gap::PAUSE,
    gap::ONE_WAY,
    gap::DRAIN,
    gap::ETCD,
    quiet_under_load::ROW,
    forged_evidence::ROW,
    seeds::ROW,
    digest::ROW,
    soak_10m::ROW,
    powercut_fuse::ROW,
    disk_stall::ROW,
    disk_full::ROW,
    disk_faults_fuse::ROW,
    status_tells::ROW,
    mutants::ROW,
    bench_etcd::ROW,
    idle_64::ROW,
    bytes::ROW,
    load_1m::ROW,
    restart_1m::ROW,
    new_replica_1m::ROW,
    scale_10k_1m::ROW,
    overload::ROW,
    planner_300::ROW,
    members::REPLACE,
    members::DECOMMISSION,
    members::ADDRESS,
    members::LOST,
    members::OLD_IMAGE,
    members::RECOVER,
    divergence::ROW,
    damage_200::ROW,
    seeds_changing::ROW,
    roll_20::ROW,
    roll_faults::ROW,
    roll_steps::ROW,
    roll_resume::ROW,
    rollback_formats::ROW,
    golden_dirs::ROW,
    newcomers::ALLOCATE,
    newcomers::CONDITIONAL,
    retrieve_http::ROW,
    trace_1m::ROW,
    feed_resume::ROW,
    gap_http::ROW,
    roll_http::ROW,
    names_on_disk::ROW,
    pds_errors::ROW,
    pds_rules::ROW,
    clients::CLIENTS,
    clients::MEDPLUM,
    clients::SCHEMATHESIS,
];
