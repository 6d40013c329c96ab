//! Helm as a program, both versions, with no configuration but a test's own; and the chart as what it makes of values. Not what is
//! to be thought of that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use trimtab_testkit::Tool;

use crate::workspace;

/// The namespace and the release of templates that no cluster sees.
pub const NAMESPACE: &str = "trimtab-system";

/// One version of Helm.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    /// Its folders, which go with this value.
    home: PathBuf,
    kubeconfig: Option<PathBuf>,
}

impl Helm {
    /// Helm 3 and Helm 4.
    ///
    /// # Errors
    ///
    /// If they cannot be built.
    pub async fn both() -> Result<[Self; 2]> {
        Ok([Self::new(Tool::Helm3, None).await?, Self::new(Tool::Helm4, None).await?])
    }

    /// A version, for a cluster if there is a kubeconfig.
    ///
    /// # Errors
    ///
    /// If it cannot be built.
    pub async fn new(tool: Tool, kubeconfig: Option<&Path>) -> Result<Self> {
        let program = tool.path().await?;
        let number = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
        let home = std::env::temp_dir().join(format!("trimtab-{tool:?}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&home)?;
        Ok(Self { program, home, kubeconfig: kubeconfig.map(Path::to_owned) })
    }

    /// Runs it with these values, as YAML, for its standard input; what it prints, or how it failed.
    ///
    /// # Errors
    ///
    /// If Helm fails; the error has what it said.
    pub async fn run(&self, arguments: &[&str], values: &str) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).args(["--values", "-"]);
        self.finish(command, values).await
    }

    /// Runs it without values.
    ///
    /// # Errors
    ///
    /// If Helm fails; the error has what it said.
    pub async fn ask(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        self.finish(command, "").await
    }

    async fn finish(&self, mut command: Command, input: &str) -> Result<String> {
        for folder in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{folder}_HOME"), self.home.join(folder.to_lowercase()));
        }
        // Nothing of whoever runs the tests.
        command.env("KUBECONFIG", self.kubeconfig.as_deref().unwrap_or(Path::new("/dev/null")));
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            piped.kill_on_drop(true).spawn().with_context(|| format!("cannot run {}", self.program.display()))?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        let out = child.wait_with_output().await?;
        let (printed, said) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        if !out.status.success() {
            bail!("{}\n{printed}", said.trim());
        }
        Ok(printed.into_owned())
    }

    /// What the chart makes of values, in a namespace.
    ///
    /// # Errors
    ///
    /// If Helm refuses them.
    pub async fn template_in(&self, namespace: &str, values: &str) -> Result<Vec<Value>> {
        let chart = chart().display().to_string();
        let text = self.run(&["template", "trimtab", &chart, "--namespace", namespace], values).await?;
        objects(&text)
    }

    /// What the chart makes of values.
    ///
    /// # Errors
    ///
    /// If Helm refuses them.
    pub async fn template(&self, values: &str) -> Result<Vec<Value>> {
        self.template_in(NAMESPACE, values).await
    }
}

impl Drop for Helm {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// The folder of the chart.
pub fn chart() -> PathBuf {
    workspace().join("charts/trimtab")
}

/// The text of one of the chart's files.
///
/// # Errors
///
/// If it is not there.
pub fn file(name: &str) -> Result<String> {
    std::fs::read_to_string(chart().join(name)).with_context(|| format!("charts/trimtab/{name}"))
}

/// The objects of rendered text, in the order of their names.
///
/// # Errors
///
/// If it is no YAML.
pub fn objects(text: &str) -> Result<Vec<Value>> {
    let documents = format!("\n{text}");
    let documents =
        documents.split("\n---\n").filter(|text| text.lines().any(|l| !l.is_empty() && !l.starts_with('#')));
    let mut all = documents
        .map(|document| serde_saphyr::from_str::<Value>(document).with_context(|| document.to_owned()))
        .collect::<Result<Vec<_>>>()?;
    all.retain(Value::is_object);
    all.sort_by_key(name);
    Ok(all)
}

/// An object's kind, namespace and name.
pub fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    format!("{} {}/{}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
}

/// Objects of a kind.
pub fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// Objects by kind, namespace and name.
pub fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    objects.into_iter().map(|object| (name(&object), object)).collect()
}
