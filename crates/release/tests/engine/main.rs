//! Tests of the release engine against a model of Kubernetes: rules by name, properties over random histories, golden
//! plans for single situations, and hostile input. The engine is called exactly as production calls it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what went wrong by failing")]

#[path = "../model/mod.rs"]
mod model;

mod asleep;
mod bypassed;
mod configuration;
mod dead_ends;
mod edits;
mod garbage;
mod golden;
mod health;
mod histories;
mod interrupted;
mod made_again;
mod manifests;
mod obstacles;
mod owners;
mod pauses;
mod proof;
mod refused;
mod requests;
mod rules;
mod slow;
mod trust;
mod versions;
mod waiting_tools;
mod waking;
mod world;
