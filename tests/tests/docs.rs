//! The documentation as far as a machine can tell whether it is true: plans can be read, links lead somewhere, examples
//! compile. Not whether it is good.

#[path = "docs/bounds.rs"]
mod bounds;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use trimtab_crds::{Autoscaler, ConfigPolicy, Release, ReleasePlan};

/// The example of `docs/guides/writing-a-controller.md`: kept here so that it compiles.
mod guide {
    // guide: begin
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use serde::{Deserialize, Serialize};
    use serde_json::{Value, json};
    use trimtab::{Controller, Manager, ManagerOptions, Meta, Permission, Selector, Store, Watched, Watches};
    use trimtab_plan::{Answers, Kind, ObjectRef, Outcome, Plan, StatusWrite, Verb, Write};

    const NAMESPACE: Kind = Kind::cluster("", "v1", "Namespace", "namespaces");
    const POLICY: Kind = Kind::namespaced("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies");

    /// A namespace: its metadata is all that is read.
    #[derive(Clone, Serialize, Deserialize)]
    struct NamespaceView {
        metadata: Meta,
    }

    impl Watched for NamespaceView {
        const KIND: Kind = NAMESPACE;
        fn meta(&self) -> &Meta {
            &self.metadata
        }
    }

    /// A network policy of ours.
    #[derive(Clone, Serialize, Deserialize)]
    struct PolicyView {
        metadata: Meta,
        spec: Value,
    }

    impl Watched for PolicyView {
        const KIND: Kind = POLICY;
        fn meta(&self) -> &Meta {
            &self.metadata
        }
    }

    /// Everything that a decision sees.
    #[derive(Serialize)]
    pub struct Seen {
        namespace: NamespaceView,
        policy: Option<PolicyView>,
    }

    /// Closes the namespaces that ask for it: nothing gets in from outside.
    pub struct Closer {
        namespaces: Store<NamespaceView>,
        policies: Store<PolicyView>,
    }

    impl Closer {
        pub fn new(watches: &mut Watches<ObjectRef>) -> Self {
            let namespaces = watches
                .watch::<NamespaceView>(Selector::labels("example.dev/closed=true"))
                .wakes(|namespace| vec![NAMESPACE.object("", &namespace.metadata.name)])
                .store();
            let policies = watches
                .watch::<PolicyView>(Selector::labels("app.kubernetes.io/managed-by=closer"))
                .wakes(|policy| vec![NAMESPACE.object("", &policy.metadata.namespace)])
                .store();
            Self { namespaces, policies }
        }
    }

    impl Controller for Closer {
        const NAME: &'static str = "closer";
        type Key = ObjectRef;
        type Snapshot = Seen;
        type Status = ();

        fn permissions(&self) -> Vec<Permission> {
            vec![Permission { group: "networking.k8s.io", resource: "networkpolicies", verbs: &["create", "patch"] }]
        }

        fn gather(&self, key: &ObjectRef, _: &Answers) -> Option<Seen> {
            let namespace = self.namespaces.get("", &key.name)?;
            let policy = self.policies.get(&key.name, "closed");
            Some(Seen { namespace: (*namespace).clone(), policy: policy.map(|policy| (*policy).clone()) })
        }

        fn decide(_: Timestamp, seen: &Seen) -> Plan<()> {
            let mut plan = Plan::new(());
            let wanted =
                json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {}}]}]});
            if seen.policy.as_ref().is_some_and(|policy| policy.spec == wanted) {
                plan.because("Closed", "the policy is as it should be");
                return plan;
            }
            let labels = BTreeMap::from([("app.kubernetes.io/managed-by", "closer")]);
            plan.writes.push(Write {
                target: POLICY.object(&seen.namespace.metadata.name, "closed"),
                verb: Verb::Apply { body: json!({"metadata": {"labels": labels}, "spec": wanted}), force: true },
                why: "close the namespace".to_owned(),
            });
            plan.because("Closing", "the policy is missing or was changed");
            plan
        }

        fn conclude(_: Timestamp, _: &Seen, _: &Plan<()>, _: &Outcome) -> Option<StatusWrite> {
            None
        }
    }

    pub async fn run() -> anyhow::Result<()> {
        let shutdown = trimtab::shutdown::signalled()?;
        let client = trimtab::client(kube::Config::infer().await?)?;
        let mut manager = Manager::new(client, ManagerOptions { identity: "closer".to_owned(), ..Default::default() });
        manager.controller(trimtab::ControllerOptions::default(), Closer::new);
        Ok(manager.run(shutdown).await?)
    }
    // guide: end
}

#[test]
fn the_example_of_the_guide_is_the_one_that_compiles() -> Result<()> {
    let source = fs::read_to_string(root().join("tests/tests/docs.rs"))?;
    let example = source.split("// guide: begin\n").nth(1).and_then(|rest| rest.split("    // guide: end").next());
    let lines = example.context("the example has lost its marks")?.lines();
    let example: Vec<&str> = lines.map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
    let guide = fs::read_to_string(root().join("docs/guides/writing-a-controller.md"))?;
    let shown = blocks(&guide, "rust").join("\n");
    ensure!(
        shown.trim() == example.join("\n").trim(),
        "the Rust of the guide is not `mod guide` of tests/tests/docs.rs"
    );
    // Named, so that the compiler looks at all of it.
    let _run = guide::run;
    Ok(())
}

#[test]
fn plans_in_the_documentation_can_be_read() -> Result<()> {
    let mut plans = 0;
    for (path, page) in pages()? {
        for block in blocks(&page, "yaml") {
            for document in block.split("\n---\n") {
                let value = yaml(document).with_context(|| format!("{path}:\n{document}"))?;
                match value["kind"].as_str() {
                    Some("ReleasePlan") => {
                        let plan: ReleasePlan =
                            serde_json::from_value(value.clone()).with_context(|| format!("{path}:\n{document}"))?;
                        ensure!(
                            known(&value["spec"], &serde_json::to_value(&plan.spec)?),
                            "{path}: unknown fields:\n{document}"
                        );
                        plans += 1;
                    }
                    Some("ConfigPolicy") => {
                        let policy: ConfigPolicy =
                            serde_json::from_value(value.clone()).with_context(|| format!("{path}:\n{document}"))?;
                        ensure!(
                            known(&value["spec"], &serde_json::to_value(&policy.spec)?),
                            "{path}: unknown fields:\n{document}"
                        );
                    }
                    Some("Autoscaler") => {
                        let autoscaler: Autoscaler =
                            serde_json::from_value(value.clone()).with_context(|| format!("{path}:\n{document}"))?;
                        ensure!(
                            known(&value["spec"], &serde_json::to_value(&autoscaler.spec)?),
                            "{path}: unknown fields:\n{document}"
                        );
                    }
                    Some("Release") => drop(serde_json::from_value::<Release>(value)?),
                    _ => {}
                }
            }
        }
    }
    ensure!(plans >= 3, "only {plans} plans were found: are the blocks still marked as yaml?");
    Ok(())
}

#[test]
fn links_in_the_documentation_lead_somewhere() -> Result<()> {
    for (path, page) in pages()? {
        let folder = root().join(&path).parent().context("a page is in a folder")?.to_owned();
        for target in links(&page) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { root().join(&path) } else { folder.join(file) };
            ensure!(file.exists(), "{path}: {target} leads nowhere");
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(&file)?);
                ensure!(there.contains(anchor), "{path}: {target}: there is no heading #{anchor}, only {there:?}");
            }
        }
    }
    Ok(())
}

/// A YAML document as a value.
fn yaml(document: &str) -> Result<Value> {
    Ok(serde_saphyr::from_str(document)?)
}

/// Whether everything that is written is also there when it was read: a misspelt field would be left out.
fn known(written: &Value, read: &Value) -> bool {
    match (written, read) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(key, value)| b.get(key).is_some_and(|other| known(value, other)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| known(a, b)),
        (a, b) => a == b,
    }
}

/// Code blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let (mut found, mut open) = (vec![], None::<Vec<&str>>);
    for line in page.lines() {
        match &mut open {
            None if line.trim() == format!("```{language}") => open = Some(vec![]),
            Some(_) if line.trim() == "```" => found.extend(open.take().map(|lines| lines.join("\n"))),
            Some(lines) => lines.push(line),
            None => {}
        }
    }
    found
}

/// Targets of links, outside of code.
fn links(page: &str) -> Vec<&str> {
    let text = page.split("```").step_by(2);
    let after = text.flat_map(|text| text.split("](").skip(1));
    after.filter_map(|rest| rest.split([')', ' ', '\n']).next()).filter(|target| !target.is_empty()).collect()
}

/// The names by which the headings of a page are linked.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let plain = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    headings.map(|text| text.to_lowercase().replace(' ', "-").chars().filter(|c| plain(*c)).collect()).collect()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// All pages, by their paths from the workspace's root.
fn pages() -> Result<Vec<(String, String)>> {
    let mut files: Vec<PathBuf> = markdown(root())?;
    for folder in ["docs", "docs/guides", "docs/reference", "docs/decisions", "charts/trimtab"] {
        files.extend(markdown(&root().join(folder))?);
    }
    let read = |file: &PathBuf| {
        let path = file.strip_prefix(root()).unwrap_or(file).to_string_lossy().into_owned();
        Ok((path, fs::read_to_string(file)?))
    };
    files.iter().map(read).collect()
}

fn markdown(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension() == Some("md".as_ref())).collect())
}

/// Every test in the sources, by its function's name.
fn tests_of_the_workspace() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for top in ["crds", "crates", "controllers", "cli", "tests"] {
        let mut folders = vec![root().join(top)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)?.flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let source = fs::read_to_string(&path)?;
                    let names = source.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
                    found.extend(names.map(|name| name.trim().to_owned()));
                }
            }
        }
    }
    Ok(found)
}

#[test]
fn every_promise_is_tried_by_tests_that_exist() -> Result<()> {
    let page = fs::read_to_string(root().join("docs/reference/promises.md"))?;
    let tests = tests_of_the_workspace()?;
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise"));
    let mut promises = 0;
    for row in rows {
        promises += 1;
        let tried = row.trim_end_matches('|').rsplit('|').next().context("a row has two columns")?;
        let names: Vec<&str> = tried
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| *name != "trimtab" && !name.starts_with("trimtab-"))
            .collect();
        ensure!(!names.is_empty(), "nothing tries this promise: {row}");
        for name in names {
            let function = name.rsplit("::").next().unwrap_or(name);
            ensure!(tests.contains(function), "there is no test {name}, which is to try: {row}");
            if let Some((module, _)) = name.rsplit_once("::") {
                let path = root().join("tests/tests/cluster").join(module.replace("::", "/")).with_extension("rs");
                let source = fs::read_to_string(&path).with_context(|| format!("{name}: {}", path.display()))?;
                ensure!(source.contains(&format!("fn {function}(")), "{name} is not in {}", path.display());
            }
        }
    }
    ensure!(promises > 30, "only {promises} promises were found");
    Ok(())
}
