//! Whose turn it is to restart: what a look at a workload notes on the board of its namespace, of itself and of others that
//! nobody has looked at since they changed. Not how a workload is found to be: whoever asks says so.

use std::collections::BTreeSet;

use jiff::Timestamp;
use trimtab_reload::{Board, Member, Options, Turn};

use super::boards::{Boards, Busy};
use crate::workload::Workload;

/// The boards, and which workloads have changed since they were noted there.
pub(super) struct Turns {
    boards: Boards,
    busy: Busy,
}

/// What came of a look.
#[derive(Debug)]
pub(super) struct Looked {
    /// Whether it is its turn, if anything has changed for it.
    pub(super) turn: Option<Turn>,
    /// Those whose turn it is from now on, or who have to say something else, by what people call them.
    pub(super) woken: BTreeSet<std::sync::Arc<str>>,
}

impl Turns {
    /// No board yet; `busy` is what watches note.
    pub(super) fn new(busy: Busy) -> Self {
        Self { boards: Boards::default(), busy }
    }

    /// Looks at a workload by `own`, and at others by `look`; what they see is not older than what is on the board. `key` finds a
    /// workload by what people call it.
    pub(super) fn look(
        &self,
        (now, options): (Timestamp, &Options),
        me: &Workload,
        mut own: impl FnMut() -> Option<Member>,
        look: impl Fn(&Workload) -> Option<Member>,
        key: impl Fn(&str) -> Option<Workload>,
    ) -> Looked {
        // Beside the board: others of the namespace are looked at meanwhile.
        let before = self.busy.last_change(me);
        let first = own();
        self.boards.with(&me.namespace, |board| {
            // Somebody may have put on the board what this has not seen. What changes from here on wakes it once more.
            let member = if self.busy.take_since(me, before) {
                first
            } else {
                self.busy.take_changed(me);
                own()
            };
            let Some(member) = member.filter(Member::counts) else {
                self.busy.remove(me);
                let id = me.id();
                board.remove(now, options, &id);
                return Looked { turn: None, woken: board.woken(&id) };
            };
            let (id, wants) = (member.id.clone(), member.wants_any());
            self.busy.note_wants(me, wants);
            if wants {
                let before = member.after.iter().filter_map(|id| key(id));
                let rolling =
                    if options.is_unlimited() { BTreeSet::new() } else { self.busy.take_rolling(&me.namespace) };
                for other in before.chain(rolling).filter(|other| other != me && self.busy.take_changed(other)) {
                    note((now, options), board, &other, look(&other));
                }
            }
            board.put(now, options, member);
            let turn = wants.then(|| board.turn(now, options, &id));
            Looked { turn, woken: board.woken(&id) }
        })
    }
}

/// Notes on a board how another workload is, which has changed and has not been looked at since. What its expressions fit may
/// not be known yet; that it rolls, has failed or comes first is.
fn note((now, options): (Timestamp, &Options), board: &mut Board, other: &Workload, member: Option<Member>) {
    match member.filter(Member::counts) {
        Some(member) => board.put(now, options, member),
        None => board.remove(now, options, &other.id()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use serde_json::{Value, json};
    use trimtab_config::{ConfigMapView, Source};
    use trimtab_crds::names::DEPLOYMENT;
    use trimtab_reload::{DeploymentView, Fits, Survey, Workload as View, survey};

    use super::*;

    const NAMED: &str = "trimtab.dev/reload";

    fn now() -> Timestamp {
        "2026-01-01T00:01:00Z".parse().unwrap()
    }

    /// A Deployment with these annotations whose rollout is at this condition.
    fn deployment(name: &str, annotations: &Value, progressing: &Value) -> Arc<View> {
        let metadata = json!({"name": name, "namespace": "ns", "generation": 1, "annotations": annotations});
        let status = json!({"observedGeneration": 1, "conditions": [progressing]});
        let all = json!({"metadata": metadata, "spec": {"replicas": 1}, "status": status});
        serde_json::from_value::<DeploymentView>(all).unwrap().0
    }

    /// One that names `app` and wants its change.
    fn waiting(name: &str, after: &str) -> Member {
        let own =
            json!({NAMED: "cm/app", "trimtab.dev/reload-applied": "cm/app=aa", "trimtab.dev/reload-after": after});
        let view = deployment(name, &own, &json!({}));
        let (options, source) = (Options::default(), Source::config_map("app"));
        let live = json!({"metadata": {"name": "app", "namespace": "ns"}, "data": {"a": "b"}}).to_string();
        let live = serde_json::from_str::<ConfigMapView>(&live).unwrap();
        let candidates = BTreeSet::from([source]);
        let found = survey(&options, &view, &candidates, &Arc::<Fits>::default(), |_| Some(&live.0), |_| None);
        Member::new(&view, &found)
    }

    /// One that expressions reload, whose last reload was for the revision that is live, while nobody knows what they fit.
    fn comparing(progressing: &Value) -> Member {
        let wanted = waiting("any", "");
        let (source, pin) = wanted.revisions().next().unwrap();
        let log = json!([{"at": "2026-01-01T00:00:30Z", "to": format!("{source}={pin}")}]).to_string();
        let view = deployment("w1", &json!({"trimtab.dev/reload-log": log}), progressing);
        Member::new(&view, &Survey { comparing: true, ..Survey::default() })
    }

    fn key(id: &str) -> Option<Workload> {
        let name = id.strip_prefix("deployment/")?.to_owned();
        Some(Workload { kind: DEPLOYMENT, namespace: "ns".to_owned(), name })
    }

    /// Whether `w2` may go beside `w1`, of which nothing but this is known at the start of a process.
    fn check(w1: &Value, after: &str, own_look_first: bool, expected: fn(&Turn) -> bool) {
        let (busy, options) = (Busy::default(), Options { max_per_source: 1, ..Options::default() });
        let turns = Turns::new(busy.clone());
        busy.changed(&deployment("w1", &json!({"trimtab.dev/reload-log": "[]"}), w1));
        busy.changed(&deployment("w2", &json!({}), &json!({})));
        let (w1_key, w2_key) = (key("deployment/w1").unwrap(), key("deployment/w2").unwrap());
        if own_look_first {
            let looked = turns.look((now(), &options), &w1_key, || Some(comparing(w1)), |_| None, key);
            assert_eq!(looked.turn, None);
        }
        let look = |other: &Workload| (*other == w1_key).then(|| comparing(w1));
        let looked = turns.look((now(), &options), &w2_key, || Some(waiting("w2", after)), look, key);
        let turn = looked.turn.unwrap();
        assert!(expected(&turn), "{turn:?} beside {w1}, with {after:?}, {own_look_first}");
    }

    #[test]
    fn what_changes_while_a_workload_is_looked_at_is_looked_at_anew() {
        let (busy, options) = (Busy::default(), Options::default());
        let (turns, me) = (Turns::new(busy.clone()), key("deployment/w2").unwrap());
        let mut looks = 0;
        let own = || {
            looks += 1;
            if looks == 1 {
                busy.add(std::slice::from_ref(&me));
                return None;
            }
            Some(waiting("w2", ""))
        };
        let looked = turns.look((now(), &options), &me, own, |_| None, key);
        assert_eq!((looks, looked.turn), (2, Some(Turn::Go)));
    }

    #[test]
    fn one_whose_expressions_are_being_compared_keeps_its_place_and_its_failure_and_goes_first() {
        let failed = json!({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"});
        let rolls = json!({"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"});
        let settled = json!({"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"});
        for own_look_first in [false, true] {
            check(&failed, "", own_look_first, |turn| matches!(turn, Turn::Halted(_)));
            check(&rolls, "", own_look_first, |turn| matches!(turn, Turn::Wait(..)));
            check(&settled, "deployment/w1", own_look_first, |turn| matches!(turn, Turn::After(..)));
            check(&settled, "", own_look_first, |turn| *turn == Turn::Go);
        }
    }
}
