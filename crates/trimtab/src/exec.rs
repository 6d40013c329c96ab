//! Programs that an answerer runs in a container, through the API server. Not a write: an exec changes no object, and what it does
//! in the pod is its caller's to answer for. A hot reload is what it is there for: it looks at files and sends a signal.

use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{Api, AttachParams};
use tokio::io::AsyncReadExt;
use trimtab_plan::ObjectRef;

use crate::answerer::Reader;
use crate::permissions::Permission;

/// What running programs in containers needs. `get` is the request itself; servers from 1.35 on ask for `create` as well.
pub const PERMISSION: Permission = Permission { group: "", resource: "pods/exec", verbs: &["get", "create"] };

/// So much of what a server or a container runtime says is kept.
const SAID: usize = 300;

/// How a program ended that ran in a container.
#[derive(Clone, PartialEq, Eq)]
pub struct ExecResult {
    /// Its exit code.
    pub code: i32,
    /// What it wrote to its standard output. It may be secret, so it is in no `Debug`.
    pub stdout: Bytes,
}

impl std::fmt::Debug for ExecResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecResult").field("code", &self.code).finish_non_exhaustive()
    }
}

/// Why a program did not run to its end. Holds nothing of what it wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The API server does not let this process do it. Servers ask for `create` on `pods/exec`, older ones for `get`.
    #[error("it may not get and create pods/exec: {0}")]
    Forbidden(String),
    /// There is no such pod.
    #[error("there is no such pod")]
    NoPod,
    /// The container has no such program.
    #[error("the container has no such program")]
    NoProgram,
    /// It wrote more than was allowed for.
    #[error("it wrote more than {0} bytes")]
    TooLong(usize),
    /// Anything else: the container does not run, or the connection broke.
    #[error("{0}")]
    Other(String),
}

impl Reader {
    /// Runs a program in a container of a pod and waits for its end. It has no shell, no standard input and no terminal;
    /// what it writes to standard error is thrown away. Dropping the future leaves it; the program may go on.
    ///
    /// # Errors
    ///
    /// If the program did not run to its end, or wrote more than `limit` bytes. A program that ends with another code than
    /// 0 is no error.
    pub async fn exec(
        &self,
        pod: &ObjectRef,
        container: &str,
        command: Vec<String>,
        limit: usize,
    ) -> Result<ExecResult, ExecError> {
        // Both become parts of a path as they are.
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        if ![&pod.namespace, &pod.name].iter().all(|name| !name.is_empty() && name.chars().all(plain)) {
            return Err(ExecError::NoPod);
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let wanted = AttachParams::default().container(container).stdin(false).stdout(true).stderr(false);
        let counted = self.metrics.request_started("GET");
        let mut process = match api.exec(&pod.name, command, &wanted).await {
            Ok(process) => {
                counted.answered(101);
                process
            }
            Err(kube::Error::Api(status)) => {
                counted.answered(status.code);
                return Err(refused(status.code, &status.message));
            }
            Err(error) => return Err(ExecError::Other(short(&error.to_string()))),
        };
        let ended = process.take_status();
        let (mut stdout, most) = (Vec::new(), u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1));
        if let Some(pipe) = process.stdout() {
            let read = pipe.take(most).read_to_end(&mut stdout).await;
            read.map_err(|error| ExecError::Other(format!("its output broke off: {error}")))?;
        }
        if stdout.len() > limit {
            return Err(ExecError::TooLong(limit));
        }
        let ended = match ended {
            Some(ended) => ended.await,
            None => None,
        };
        let ended = ended.ok_or_else(|| ExecError::Other("the connection ended before the program did".to_owned()))?;
        Ok(ExecResult { code: exit_code(&ended)?, stdout: stdout.into() })
    }
}

fn refused(code: u16, message: &str) -> ExecError {
    match code {
        403 => ExecError::Forbidden(short(message)),
        404 => ExecError::NoPod,
        code => ExecError::Other(format!("{code}: {}", short(message))),
    }
}

/// What the kubelet says of a program: its exit code, or that it never ran.
fn exit_code(status: &Status) -> Result<i32, ExecError> {
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.iter().filter_map(|details| details.causes.as_ref()).flatten();
    let mut codes = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
    if let Some(code) = codes.find_map(|cause| cause.message.as_deref()?.parse().ok()) {
        // What shells and some runtimes say instead of an error: not found, or no program at all.
        return if matches!(code, 126 | 127) { Err(ExecError::NoProgram) } else { Ok(code) };
    }
    let said = status.message.as_deref().unwrap_or_default();
    let absent = ["executable file not found", "no such file or directory"].iter().any(|words| said.contains(words));
    Err(if absent { ExecError::NoProgram } else { ExecError::Other(short(said)) })
}

fn short(text: &str) -> String {
    text.chars().take(SAID).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn code(status: Value) -> Result<i32, ExecError> {
        exit_code(&serde_json::from_value(status).unwrap())
    }

    #[test]
    fn a_kubelet_says_how_a_program_ended() {
        let ended = |code: &str| {
            json!({"status": "Failure", "reason": "NonZeroExitCode", "message": "command terminated",
                "details": {"causes": [{"reason": "ExitCode", "message": code}]}})
        };
        assert_eq!(code(json!({"status": "Success"})), Ok(0));
        assert_eq!(code(ended("2")), Ok(2));
        assert_eq!(code(ended("127")), Err(ExecError::NoProgram));
        let absent = "OCI runtime exec failed: exec: \"cat\": executable file not found in $PATH: unknown";
        assert_eq!(
            code(json!({"status": "Failure", "reason": "InternalError", "message": absent})),
            Err(ExecError::NoProgram)
        );
        assert_eq!(code(json!({"status": "Failure", "message": "no"})), Err(ExecError::Other("no".to_owned())));
    }

    #[test]
    fn a_server_that_refuses_says_why() {
        assert_eq!(refused(403, "pods \"a\" is forbidden"), ExecError::Forbidden("pods \"a\" is forbidden".to_owned()));
        assert_eq!(refused(404, ""), ExecError::NoPod);
        let ExecError::Other(said) = refused(500, &"x".repeat(5000)) else { panic!("not another error") };
        assert_eq!(said.len(), SAID + 5);
    }

    #[test]
    fn output_is_not_in_debug() {
        let shown = format!("{:?}", ExecResult { code: 0, stdout: "hunter2".into() });
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
