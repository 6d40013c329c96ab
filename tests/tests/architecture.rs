//! The architecture as tests: what each crate may depend on, where writes to the API server are made, what every source
//! file has. They read the sources and `cargo`'s view of them, and need no cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Crates that decide: no client, no runtime, no clock, no log, no chance.
const PURE: &[(&str, &str)] = &[
    ("trimtab-plan", "crates/plan"),
    ("trimtab-crds", "crds"),
    ("trimtab-config", "crates/config"),
    ("trimtab-reload", "crates/reload"),
    ("trimtab-release", "crates/release"),
    ("trimtab-schedule", "crates/schedule"),
    ("trimtab-import", "crates/import"),
    ("trimtab-uninstall", "crates/uninstall"),
];

/// Crates that have no client, no log and no clock either, but use a thread, chance or spans inside; and what they may have.
const NEARLY_PURE: &[(&str, &str, &[&str])] = &[
    // Hash maps of its JSON Schema are seeded; nothing that is found depends on it.
    ("trimtab-validate", "crates/validate", &["getrandom"]),
    // The decomposition opens a span and tells one event for tracing; nothing that is found depends on them.
    ("trimtab-forecast", "crates/forecast", &["tracing"]),
    // For the formulas of autoscalers.
    ("trimtab-scale", "crates/scale", &["getrandom"]),
    ("trimtab-backtest", "crates/backtest", &["getrandom"]),
];

/// What no pure crate has anywhere in its dependency tree.
const IMPURE: [&str; 18] = [
    "async-std",
    "chrono",
    "getrandom",
    "hyper",
    "hyper-util",
    "kube-client",
    "kube-runtime",
    "log",
    "mio",
    "rand",
    "rand_core",
    "reqwest",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "tower",
    "tracing",
];

/// Which crates of the workspace a crate may use. The order is from the bottom up.
const MAY_USE: &[(&str, &[&str])] = &[
    ("trimtab-plan", &[]),
    ("trimtab-schedule", &[]),
    ("trimtab-forecast", &[]),
    ("trimtab-crds", &["trimtab-plan", "trimtab-schedule"]),
    ("trimtab-scale", &["trimtab-crds", "trimtab-plan", "trimtab-schedule", "trimtab-validate"]),
    ("trimtab-config", &["trimtab-crds", "trimtab-plan"]),
    ("trimtab-reload", &["trimtab-config", "trimtab-crds", "trimtab-plan"]),
    ("trimtab-release", &["trimtab-config", "trimtab-crds", "trimtab-plan"]),
    ("trimtab-uninstall", &["trimtab-config", "trimtab-crds", "trimtab-plan", "trimtab-release"]),
    ("trimtab-validate", &["trimtab-crds"]),
    ("trimtab-import", &["trimtab-crds", "trimtab-schedule"]),
    ("trimtab-backtest", &["trimtab-crds", "trimtab-scale", "trimtab-schedule"]),
    ("trimtab", &["trimtab-plan"]),
    ("trimtab-image", &[]),
    ("trimtab-parts", &[]),
    ("trimtab-testkit", &["trimtab-image", "trimtab-parts"]),
    (
        "trimtab-controllers",
        &[
            "trimtab",
            "trimtab-config",
            "trimtab-crds",
            "trimtab-forecast",
            "trimtab-plan",
            "trimtab-release",
            "trimtab-reload",
            "trimtab-scale",
            "trimtab-uninstall",
            "trimtab-validate",
        ],
    ),
    (
        "trimtab-cli",
        &[
            "trimtab",
            "trimtab-backtest",
            "trimtab-config",
            "trimtab-controllers",
            "trimtab-crds",
            "trimtab-import",
            "trimtab-plan",
            "trimtab-release",
            "trimtab-scale",
            "trimtab-schedule",
            "trimtab-testkit",
            "trimtab-uninstall",
        ],
    ),
    (
        "trimtab-tests",
        &[
            "trimtab",
            "trimtab-controllers",
            "trimtab-crds",
            "trimtab-image",
            "trimtab-plan",
            "trimtab-release",
            "trimtab-testkit",
        ],
    ),
];

/// Where requests that change something may be made, and why there.
const MAY_WRITE: [(&str, &str); 12] = [
    ("crates/trimtab/src/apply/", "the one place that all writes of controllers go through"),
    ("crates/trimtab/src/lease/", "the Lease: what the fence before all other writes rests on"),
    ("crates/trimtab/src/events/", "events: beside the reconciles, and allowed to be lost"),
    ("controllers/src/digest_key.rs", "the key for digests of Secrets: made once, before any controller runs"),
    ("controllers/src/reload/hot/http.rs", "what a pod is told to reload by: sent to the pod, not to the API server"),
    ("controllers/src/smoke/", "the smoke test: what a user does, in a scratch namespace; no controller"),
    ("crates/trimtab/src/permissions.rs", "access reviews: created, never stored"),
    ("crates/trimtab/examples/", "benchmarks fill the namespace that they measure"),
    ("crates/trimtab/tests/", "what the framework's tests do to a stub"),
    ("crates/testkit/", "clusters for tests, and what is in them"),
    ("cli/", "what a person asks for, and the demo"),
    ("tests/", "what the tests do to a cluster"),
];

/// What a request that changes something cannot do without.
const WRITES: [&str; 11] = [
    "PostParams",
    "PatchParams",
    "DeleteParams",
    "EvictParams",
    "Method::POST",
    "Method::PUT",
    "Method::PATCH",
    "Method::DELETE",
    "Request::post(",
    "Request::put(",
    "Request::patch(",
];

/// Lines that a source file may have.
const LINES: usize = 600;
/// Files that may have more, and why.
const LONG: [(&str, &str); 1] =
    [("crates/release/tests/engine/rules.rs", "one test for each rule of a release, in the order of the rules")];

/// Names that say nothing of what is in a file.
const VAGUE: [&str; 6] = ["utils", "util", "helpers", "helper", "common", "misc"];

/// Words in the release engine's sources that look like reasons and are none.
const NO_REASONS: [&str; 32] = [
    "AlreadyExists",
    "ContainersNotReady",
    "ReplicaSet",
    "Release",
    "Deployment",
    "ReleasePlan",
    "ReplicaFailure",
    "Recreate",
    "Failed",
    "True",
    "False",
    "Unknown",
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "StartError",
    "AnyDeployment",
    "AnyReplicaSet",
    "ContainerStatusUnknown",
    "DisruptionTarget",
    "NewReplicaSetAvailable",
    "ProgressDeadlineExceeded",
    "Progressing",
    "Referenced",
    "RawRevision",
    "Exists",
    "NotIn",
    "DoesNotExist",
];

#[test]
fn pure_crates_have_no_way_to_the_outside() -> Result<()> {
    let pure = PURE.iter().copied().map(|(name, _)| (name, &[] as &[&str]));
    for (name, excepted) in pure.chain(NEARLY_PURE.iter().copied().map(|(name, _, excepted)| (name, excepted))) {
        // One package at a time: features that others of the workspace ask for do not count.
        let tree = cargo(&["tree", "--locked", "-p", name, "-e", "normal", "--prefix", "none", "-f", "{p}"])?;
        let impure = |package: &&str| IMPURE.contains(package) && !excepted.contains(package);
        let found: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).filter(impure).collect();
        ensure!(found.is_empty(), "{name} has {found:?} in its tree: cargo tree -p {name} -e normal -i NAME shows how");
    }
    Ok(())
}

#[test]
fn crates_use_only_what_lies_below_them() -> Result<()> {
    let table: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    for package in packages()? {
        let name = text(&package, "/name")?;
        let allowed = table.get(name).with_context(|| format!("crate {name} has no row in MAY_USE"))?;
        for dependency in list(&package, "dependencies") {
            let used = text(dependency, "/name")?;
            let inside = table.contains_key(used) && used != name;
            ensure!(!inside || allowed.contains(&used), "{name} must not use {used}: see MAY_USE");
        }
    }
    Ok(())
}

#[test]
fn pure_crates_read_no_clock() -> Result<()> {
    for folder in PURE.iter().copied().map(|(_, folder)| folder).chain(NEARLY_PURE.iter().copied().map(|row| row.1)) {
        for (path, source) in sources(&[&format!("{folder}/src")])? {
            for word in ["Timestamp::now", "Zoned::now", "SystemTime::now", "Instant::now", "thread::sleep"] {
                let line = code_lines(&source).find(|(_, line)| line.contains(word));
                ensure!(line.is_none(), "{path}: {word}: a decision is told the time, it does not ask for it");
            }
        }
    }
    Ok(())
}

#[test]
fn writes_to_the_api_server_are_made_in_one_place() -> Result<()> {
    for (path, source) in sources(&["crds", "crates", "controllers", "cli", "tests"])? {
        if MAY_WRITE.iter().any(|(place, _)| path.starts_with(place)) {
            continue;
        }
        for (number, line) in code_lines(before_tests(&source)) {
            let word = WRITES.iter().find(|word| line.contains(**word));
            ensure!(
                word.is_none(),
                "{path}:{number}: {word:?}: writes of controllers are values in a Plan, sent by crates/trimtab/src/apply"
            );
        }
    }
    for (place, _) in MAY_WRITE {
        ensure!(root().join(place).exists(), "MAY_WRITE names {place}, which is not there");
    }
    Ok(())
}

#[test]
fn every_source_file_says_what_it_is_and_is_not_too_long() -> Result<()> {
    // Put together, so that this file does not hold them.
    let unfinished = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!("), concat!("unimple", "mented!(")];
    for (path, source) in sources(&["crds", "crates", "controllers", "cli", "tests"])? {
        ensure!(source.starts_with("//!"), "{path} begins without a //! that says what it is and what it is not");
        let long = source.lines().count() > LINES && !LONG.iter().any(|(name, _)| *name == path);
        ensure!(
            !long,
            "{path} has {} lines, more than {LINES}: divide it by what its parts are",
            source.lines().count()
        );
        for word in unfinished {
            ensure!(!source.contains(word), "{path} holds {word}: finish it, or write an issue");
        }
        let parts = Path::new(&path).iter().filter_map(|part| part.to_str());
        let vague = parts.map(|part| part.trim_end_matches(".rs")).find(|part| VAGUE.contains(part));
        ensure!(vague.is_none(), "{path}: name it after what is in it");
    }
    for (path, _) in LONG {
        let lines = fs::read_to_string(root().join(path))?.lines().count();
        ensure!(lines > LINES, "{path} has {lines} lines: take it out of LONG");
    }
    Ok(())
}

#[test]
fn every_source_file_is_part_of_a_crate() -> Result<()> {
    let mut reached = BTreeSet::new();
    let mut folders = vec![];
    for package in packages()? {
        let manifest = PathBuf::from(text(&package, "/manifest_path")?);
        folders.push(relative(manifest.parent().context("a manifest is in a folder")?));
        for target in list(&package, "targets") {
            follow(Path::new(text(target, "/src_path")?), true, &mut reached)?;
        }
    }
    let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
    for (path, _) in sources(&folders)? {
        ensure!(reached.contains(&path), "{path} is not reached by any `mod`: it is never compiled");
    }
    Ok(())
}

#[test]
fn the_map_of_the_code_names_every_crate() -> Result<()> {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    for package in packages()? {
        let name = text(&package, "/name")?;
        ensure!(map.contains(&format!("`{name}`")), "ARCHITECTURE.md does not name `{name}`");
    }
    let lines = map.lines().count();
    ensure!(lines <= 300, "ARCHITECTURE.md has {lines} lines; above 300 nobody reads it");
    Ok(())
}

/// Words in the sources of autoscaling that look like reasons and are none.
const NO_SCALE_REASONS: &[&str] = &[
    "AbleToScale",
    "Always",
    "AverageValue",
    "Decision",
    "Deployment",
    "DoesNotExist",
    "Exists",
    "External",
    "False",
    "Finding",
    "HorizontalPodAutoscaler",
    "NotIn",
    "RawPod",
    "RawSet",
    "Ready",
    "Running",
    "ScalingActive",
    "ScalingLimited",
    "SchedulesValid",
    "True",
    "Unknown",
    "Wait",
];

/// Words in the sources of reloads that look like reasons and are none.
const NO_RELOAD_REASONS: [&str; 31] = [
    "Annotations",
    "Available",
    "Complete",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "Degraded",
    "ErrImagePull",
    "Failed",
    "False",
    "Forbid",
    "Healthy",
    "HotReloadFailed",
    "Ignore",
    "ImagePullBackOff",
    "NewReplicaSetAvailable",
    "NotBlocked",
    "OnDelete",
    "ProgressDeadlineExceeded",
    "Progressing",
    "Ready",
    "Referenced",
    "Reload",
    "ReloadBlocked",
    "Reloaded",
    "Replace",
    "Restart",
    "RunContainerError",
    "Succeeded",
    "True",
    "Wait",
];

#[test]
fn every_reason_is_documented_and_every_documented_reason_exists() -> Result<()> {
    let releases = sources(&["crates/release/src", "crates/config/src", "crates/plan/src"])?;
    // Of the crates below, the files that name reasons which a plan's events and conditions bear.
    let said = ["config/src/want.rs", "config/src/track.rs", "plan/src/plan.rs", "plan/src/status.rs"];
    let below = |path: &str| path.contains("/config/") || path.contains("/plan/");
    let releases = releases.iter().filter(|(path, _)| !below(path) || said.iter().any(|file| path.ends_with(file)));
    check_reasons("docs/reference/releaseplan.md", releases, &NO_REASONS)?;
    let reloads = sources(&["crates/reload/src"])?;
    check_reasons("docs/reference/reload.md", reloads.iter(), &NO_RELOAD_REASONS)?;
    let scales = sources(&["crates/scale/src"])?;
    check_reasons("docs/reference/autoscaler.md", scales.iter(), NO_SCALE_REASONS)
}

fn check_reasons<'s>(
    page: &str,
    sources: impl Iterator<Item = (&'s String, &'s String)>,
    no_reasons: &[&str],
) -> Result<()> {
    let mut words = BTreeSet::new();
    for (_, source) in sources {
        let code: Vec<&str> = code_lines(before_tests(source)).map(|(_, line)| line).collect();
        words.extend(literals(&code.join("\n")).into_iter().filter(|word| is_code(word)));
    }
    let documented = table_codes(&fs::read_to_string(root().join(page))?);
    for word in words.iter().filter(|word| !no_reasons.contains(&word.as_str())) {
        ensure!(documented.contains(word), "{page} does not explain {word}: add a row to its tables");
    }
    for word in &documented {
        ensure!(words.contains(word), "{page} explains {word}, which is never said");
    }
    Ok(())
}

/// The first column of the tables between `<!-- codes -->` and `<!-- /codes -->`.
fn table_codes(page: &str) -> BTreeSet<String> {
    let parts = page.split("<!-- codes -->").skip(1).filter_map(|part| part.split("<!-- /codes -->").next());
    let cells = parts.flat_map(str::lines).filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    cells.map(str::to_owned).collect()
}

/// Whether a word is a code in CamelCase: `CanaryFailed`.
fn is_code(word: &str) -> bool {
    let lower = word.bytes().filter(u8::is_ascii_lowercase).count();
    word.len() >= 4
        && word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.bytes().all(|b| b.is_ascii_alphabetic())
        && lower > 0
}

/// The string literals of Rust code without raw strings.
fn literals(code: &str) -> Vec<String> {
    let (mut found, mut open, mut escaped) = (vec![], None::<String>, false);
    for c in code.replace("'\"'", "").chars() {
        match (&mut open, c) {
            (Some(text), _) if escaped => {
                text.push(c);
                escaped = false;
            }
            (Some(_), '\\') => escaped = true,
            (Some(_), '"') => found.extend(open.take()),
            (Some(text), _) => text.push(c),
            (None, '"') => open = Some(String::new()),
            (None, _) => {}
        }
    }
    found
}

/// Adds a source file and the modules that it declares.
fn follow(file: &Path, owns_folder: bool, reached: &mut BTreeSet<String>) -> Result<()> {
    if !reached.insert(relative(file)) {
        return Ok(());
    }
    let source = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let parent = file.parent().context("a file is in a folder")?;
    let folder = if owns_folder { parent.to_owned() } else { parent.join(file.file_stem().unwrap_or_default()) };
    let mut elsewhere = None;
    for (_, line) in code_lines(&source) {
        let line = line.trim();
        if let Some(path) = line.strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]")) {
            elsewhere = Some(parent.join(path));
            continue;
        }
        let Some(at) = line.find("mod ").filter(|at| *at == 0 || line.starts_with("pub")) else { continue };
        let Some(name) = line[at + 4..].strip_suffix(';') else { continue };
        let (flat, nested) = (folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs"));
        match elsewhere.take() {
            Some(path) => follow(&path, true, reached)?,
            None if flat.exists() => follow(&flat, false, reached)?,
            None => follow(&nested, true, reached)?,
        }
    }
    Ok(())
}

/// Lines with their numbers, without those that are comments.
fn code_lines(source: &str) -> impl Iterator<Item = (usize, &str)> {
    source.lines().enumerate().map(|(n, line)| (n + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// A source file up to its tests.
fn before_tests(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn cargo(arguments: &[&str]) -> Result<String> {
    let out = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().context("cannot run cargo")?;
    ensure!(out.status.success(), "cargo {arguments:?} failed:\n{}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8(out.stdout)?)
}

/// The workspace's packages as cargo describes them.
fn packages() -> Result<Vec<Value>> {
    let text = cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"])?;
    let metadata: Value = serde_json::from_str(&text)?;
    Ok(list(&metadata, "packages").to_vec())
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).with_context(|| format!("cargo metadata has no {pointer}"))
}

/// Every Rust file below these folders, by its path from the workspace's root.
fn sources(folders: &[&str]) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.extend((path.file_name() != Some("target".as_ref())).then_some(path));
            } else if path.extension() == Some("rs".as_ref()) {
                let source = fs::read_to_string(&path)?;
                found.insert(relative(&path), source);
            }
        }
    }
    Ok(found)
}

/// A path from the workspace's root.
fn relative(path: &Path) -> String {
    let (path, root) = (fs::canonicalize(path), fs::canonicalize(root()));
    let short = path.ok().zip(root.ok()).and_then(|(path, root)| Some(path.strip_prefix(root).ok()?.to_owned()));
    short.unwrap_or_default().to_string_lossy().into_owned()
}
