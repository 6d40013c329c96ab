//! What stands in the way of releases in tests: refused and lost writes, admissions, strangers, and edits in mid-release that
//! change what a plan is about. What must hold all the same is for `dead_ends` to say.

use proptest::prelude::*;
use serde_json::json;

use crate::model::{CONFIG_MAPS, Cluster, DEPLOYMENTS, Fate, PLANS, RELEASES, REPLICA_SETS, WEB};

/// What stands in the way from now on.
#[derive(Clone, Copy, Debug)]
pub enum Obstacle {
    /// Writes of a kind are not simply carried out, so often, or for ever.
    Refuse(usize, Fate, Option<u32>),
    /// The status of the plan cannot be written so often.
    RefuseStatus(Fate, u32),
    AllowAll,
    MarkDeployments,
    MarkCanaries,
    MarkCopies,
    CapCanaries(i32),
    DenyPods(&'static str),
    ForceImage,
    FailReads(u32),
    TakeCanaryName,
    AddOwnerFirst,
    TakeReleaseNames(Option<i64>),
    TakeCopyNames(usize),
    ForgeRelease,
    CloneCopy,
    Strategy(&'static str),
    Config(&'static str),
    /// The plan is deleted, and what it owns stays; perhaps one of its name is made for another workload.
    OrphanPlan(bool),
    LoseOwners,
    MakeLookAlike,
    ScaleOldSet,
}

/// Every kind of write that the engine makes.
pub const WRITES: [(&str, &str); 9] = [
    (DEPLOYMENTS, "patch"),
    (REPLICA_SETS, "create"),
    (REPLICA_SETS, "patch"),
    (REPLICA_SETS, "delete"),
    (RELEASES, "create"),
    (RELEASES, "status"),
    (RELEASES, "delete"),
    (CONFIG_MAPS, "create"),
    (CONFIG_MAPS, "patch"),
];

/// Writes that nothing waits for: with all of them refused for ever, every release goes as without.
pub const AUXILIARY: [(&str, &str); 4] =
    [(RELEASES, "status"), (RELEASES, "delete"), (CONFIG_MAPS, "patch"), (CONFIG_MAPS, "delete")];

fn refusal() -> impl Strategy<Value = Obstacle> {
    let fate = prop::sample::select(vec![Fate::Denied, Fate::Denied, Fate::Fails, Fate::Lost, Fate::Conflicts]);
    (0..WRITES.len(), fate, prop::option::of(1..6u32))
        .prop_map(|(which, fate, times)| Obstacle::Refuse(which, fate, times))
}

pub fn obstacle() -> impl Strategy<Value = Obstacle> {
    prop_oneof![
        8 => refusal(),
        1 => (prop::sample::select(vec![Fate::Denied, Fate::Fails, Fate::Lost]), 1..6u32)
            .prop_map(|(fate, times)| Obstacle::RefuseStatus(fate, times)),
        3 => Just(Obstacle::AllowAll),
        1 => Just(Obstacle::MarkDeployments),
        1 => Just(Obstacle::MarkCanaries),
        1 => Just(Obstacle::MarkCopies),
        1 => (0..3i32).prop_map(Obstacle::CapCanaries),
        1 => prop::sample::select(vec!["app:1", "app:2"]).prop_map(Obstacle::DenyPods),
        1 => Just(Obstacle::ForceImage),
        2 => (1..4u32).prop_map(Obstacle::FailReads),
        1 => Just(Obstacle::TakeCanaryName),
        1 => Just(Obstacle::AddOwnerFirst),
        2 => prop::option::of(1..4i64).prop_map(Obstacle::TakeReleaseNames),
        2 => (1..4usize).prop_map(Obstacle::TakeCopyNames),
        1 => Just(Obstacle::ForgeRelease),
        1 => Just(Obstacle::CloneCopy),
        2 => prop::sample::select(vec!["Recreate", "RollingUpdate"]).prop_map(Obstacle::Strategy),
        2 => prop::sample::select(vec!["a", "b", "crash"]).prop_map(Obstacle::Config),
        2 => any::<bool>().prop_map(Obstacle::OrphanPlan),
        2 => Just(Obstacle::LoseOwners),
        1 => Just(Obstacle::MakeLookAlike),
        1 => Just(Obstacle::ScaleOldSet),
    ]
}

pub fn arise(cluster: &mut Cluster, obstacle: Obstacle) {
    match obstacle {
        Obstacle::Refuse(which, fate, times) => {
            let (kind, verb) = WRITES[which];
            cluster.refuse_writes(kind, verb, fate, times);
        }
        Obstacle::RefuseStatus(fate, times) => cluster.refuse_writes(PLANS, "status", fate, Some(times)),
        Obstacle::AllowAll => cluster.allow_all(),
        Obstacle::MarkDeployments => cluster.adversity.marks_deployments = true,
        Obstacle::MarkCanaries => cluster.adversity.marks_canaries = true,
        Obstacle::MarkCopies => cluster.adversity.marks_copies = true,
        Obstacle::CapCanaries(most) => cluster.adversity.caps_canaries = Some(most),
        Obstacle::DenyPods(image) => cluster.adversity.denies_pods_of = Some(image),
        Obstacle::ForceImage => cluster.adversity.forces_image = Some("app:2"),
        Obstacle::FailReads(times) => cluster.adversity.failing_reads = times,
        Obstacle::TakeCanaryName => cluster.take_canary_name(),
        Obstacle::AddOwnerFirst => cluster.add_owner_first(),
        Obstacle::TakeReleaseNames(count) => cluster.take_release_names(count),
        Obstacle::TakeCopyNames(count) => cluster.take_copy_names(count),
        Obstacle::ForgeRelease => cluster.forge_release(),
        Obstacle::CloneCopy => {
            cluster.clone_copy();
            cluster.refuse_writes(CONFIG_MAPS, "delete", Fate::Denied, None);
        }
        Obstacle::Strategy(strategy) => set_strategy(cluster, strategy),
        Obstacle::Config(value) if cluster.get(CONFIG_MAPS, WEB).is_none() => cluster.configure(value),
        Obstacle::Config(value) => cluster.set_config(value),
        Obstacle::OrphanPlan(for_another) => cluster.orphan_plan(for_another),
        Obstacle::LoseOwners => cluster.lose_owners(),
        Obstacle::MakeLookAlike => cluster.make_look_alike(),
        Obstacle::ScaleOldSet => cluster.scale_old_set(),
    }
}

pub fn set_strategy(cluster: &mut Cluster, strategy: &str) {
    // What recreates its pods promises nothing of them, nor does what it left half way.
    cluster.watch.floor = 0;
    cluster.edit(|d| d["spec"]["strategy"]["type"] = json!(strategy));
}
