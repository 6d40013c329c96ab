//! The tests that need a cluster, in one program, so that what they share is linked once. Each module is about one thing, and
//! each test has a namespace or a cluster of its own. `make test` starts the cluster that most of them share.

mod autoscaler;
mod autoscaler_adapter;
mod autoscaler_real;
mod bad_input;
mod beside;
mod chart;
mod cli;
mod config;
mod framework_core;
mod hold;
mod hostile;
mod hot;
mod idle;
mod image;
mod install;
mod killed;
mod lease;
mod load;
mod local_cluster;
mod local_metrics;
mod manager;
mod midair;
mod permissions;
mod pins;
mod release;
mod reload;
mod reload_first;
mod reload_killed;
mod reloader_defects;
mod requests;
mod roads;
mod skew;
mod smoke;
mod uninstall;
mod user_roles;
