//! Manifests that are written again, at any time and in any way: none lets go what is held, opts out, or changes who is
//! named. What a person releases on purpose goes.

use proptest::prelude::*;
use serde_json::{Value, json};
use trimtab_crds::names;

use crate::histories::{Event, config, happen, machine};
use crate::model::{Cluster, WEB};
use crate::world::{Setup, four_with, setups};

/// How a manifest is written.
#[derive(Clone, Copy, Debug)]
enum How {
    Replace,
    Apply,
    /// One in which somebody wrote `paused: false`.
    ApplyUnpaused,
    ReplaceUnpaused,
}

#[derive(Clone, Debug)]
enum Move {
    Machine(Event),
    /// Keeps what is stored.
    Export,
    /// Writes a kept manifest, with another image where one is named, some times over.
    Write(u8, How, Option<u8>, u8),
    Image(u8),
    /// `kubectl rollout undo`.
    Undo,
    Release,
}

fn moves() -> impl Strategy<Value = Move> {
    use How::{Apply, ApplyUnpaused, Replace, ReplaceUnpaused};
    let how = prop::sample::select(vec![Replace, Apply, ApplyUnpaused, ReplaceUnpaused]);
    prop_oneof![
        6 => machine().prop_map(Move::Machine),
        1 => Just(Move::Export),
        3 => (any::<u8>(), how, prop::option::of(1..4u8), 1..4u8).prop_map(|(of, how, image, times)| Move::Write(of, how, image, times)),
        1 => (1..4u8).prop_map(Move::Image),
        1 => Just(Move::Undo),
        1 => Just(Move::Release),
    ]
}

/// A manifest as a version before marks named a generation would have stored it.
fn old_manifest(cluster: &Cluster) -> Value {
    let mut manifest = cluster.export().unwrap();
    manifest["metadata"]["annotations"][names::HELD] = json!(names::RELEASED);
    manifest["metadata"].as_object_mut().unwrap().remove("generation");
    manifest
}

/// A manifest of a time in which the Deployment had opted out.
fn opted_out(cluster: &Cluster) -> Value {
    let mut manifest = cluster.export().unwrap();
    manifest["metadata"]["annotations"][names::PLAN] = json!("");
    manifest["metadata"].as_object_mut().unwrap().remove("generation");
    manifest
}

fn image(which: u8) -> String {
    format!("app:{which}")
}

fn write(cluster: &mut Cluster, manifest: &Value, how: How, other: Option<u8>) {
    let mut manifest = manifest.clone();
    if let Some(which) = other {
        manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image(which));
    }
    if matches!(how, How::ApplyUnpaused | How::ReplaceUnpaused) {
        manifest["spec"]["paused"] = json!(false);
    }
    match how {
        How::Replace | How::ReplaceUnpaused => cluster.replace_by_manifest(&manifest),
        How::Apply | How::ApplyUnpaused => cluster.apply_manifest(&manifest),
    }
}

/// What a manifest must not change: what is held stays held, under the same name; the guard stays.
fn check_write(cluster: &mut Cluster, act: impl FnOnce(&mut Cluster)) -> Result<(), String> {
    let (held, mark) = (cluster.held(), cluster.annotation(names::HELD).map(str::to_owned));
    let template = cluster.deployment().map(|d| d["spec"]["template"].clone());
    act(cluster);
    let changed = cluster.deployment().map(|d| d["spec"]["template"].clone()) != template;
    let now = cluster.annotation(names::HELD).map(str::to_owned);
    if (held || changed) && !cluster.held() {
        return Err(format!("let go: {mark:?} became {now:?}"));
    }
    let own_pause = mark.as_deref().and_then(|mark| mark.strip_prefix(names::HELD_WHILE_PAUSED));
    if held && now != mark && now.as_deref() != own_pause {
        return Err(format!("renamed: {mark:?} became {now:?}"));
    }
    if cluster.annotation(names::PLAN) != Some(WEB) {
        return Err(format!("guarded no more: {:?}", cluster.annotation(names::PLAN)));
    }
    Ok(())
}

fn check(setup: &Setup, moves: &[Move]) -> Result<(), String> {
    let mut cluster = setup.stable();
    let mut kept = vec![old_manifest(&cluster), opted_out(&cluster)];
    for (count, step) in moves.iter().enumerate() {
        match step {
            Move::Machine(event) => happen(&mut cluster, event, count),
            Move::Export => kept.extend(cluster.export()),
            Move::Write(of, how, other, times) => {
                let manifest = kept[usize::from(*of) % kept.len()].clone();
                for _ in 0..*times {
                    check_write(&mut cluster, |cluster| write(cluster, &manifest, *how, *other))?;
                }
            }
            Move::Image(which) => check_write(&mut cluster, |cluster| cluster.set_image(&image(*which)))?,
            Move::Undo => check_write(&mut cluster, Cluster::kubectl_undo)?,
            Move::Release => {
                cluster.release_by_hand();
                if cluster.held() {
                    return Err("a person's release was refused".to_owned());
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn no_manifest_that_is_written_again_releases_anything(
        setup in setups(),
        moves in prop::collection::vec(moves(), 0..60),
    ) {
        check(&setup, &moves).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn an_undo_does_not_bring_an_opt_out_back() {
    let mut cluster = four_with(json!([])).stable();
    cluster.opt_out();
    cluster.set_image("app:2");
    cluster.settle().unwrap();
    cluster.edit(|d| d["metadata"]["annotations"][names::PLAN] = json!(WEB));
    cluster.settle().unwrap();
    cluster.set_image("app:3");
    cluster.settle().unwrap();
    assert_eq!(cluster.image(), "app:3");
    cluster.kubectl_undo();
    assert_eq!((cluster.annotation(names::PLAN), cluster.held()), (Some(WEB), true));
}

#[test]
fn the_author_is_who_made_the_change_whatever_was_written_before() {
    let mut cluster = four_with(json!([])).stable();
    cluster.edit(|d| d["metadata"]["annotations"][names::HELD] = json!("by bob"));
    cluster.set_image("app:2");
    assert_eq!(cluster.annotation(names::HELD), Some("by alice"));
}
