//! What a hot reload does inside containers: compares files with `cat`, and sends signals with `kill`. Not the exec itself, which is
//! the framework's. No shell is used: names of files and signals are arguments.

use std::collections::VecDeque;

use trimtab::{ExecError, ExecResult};

use super::sources::{self, File};
use super::{Action, End, Job, Pauses};

/// Signals that may be sent. The name comes from an annotation; those that only stop a process are not reloads.
pub(super) const SIGNALS: [&str; 7] = ["HUP", "USR1", "USR2", "INT", "TERM", "QUIT", "WINCH"];

/// How a process can be told without programs in its container.
const BY_HTTP: &str = "use trimtab.dev/reload-mode: http with trimtab.dev/reload-verify";

/// So much may `kill` say.
const CHATTER: usize = 4096;

/// Whether an action may be asked for at all.
pub(super) fn check(action: &Action) -> Result<(), End> {
    match action {
        Action::Http { path, .. } if !path.starts_with('/') => {
            Err(End::Failed(format!("{path:?} is no path to reload by: it begins with a slash")))
        }
        Action::Signal { signal, .. } if !SIGNALS.contains(&signal.as_str()) => {
            Err(End::Failed(format!("{signal:?} is no signal to reload by: use one of {}", SIGNALS.join(", "))))
        }
        _ => Ok(()),
    }
}

/// Waits until every file that is mounted holds what its source holds. The kubelet renews all files of a volume at once, so a
/// file that was new is not looked at again.
///
/// A key that was taken away leaves no file to compare: if nothing else has changed, this does not wait for the kubelet.
pub(super) async fn until_new(job: &Job<'_>) -> Result<(), End> {
    let mut files: VecDeque<File<'_>> = sources::files(job)?.into();
    let mut pauses = Pauses::new();
    while let Some(file) = files.front() {
        let (File { source, container, wanted, .. }, path) = (file, file.path());
        let command = vec!["cat".to_owned(), path.clone()];
        let turn = job.turns.turn(&job.asked.namespace).await;
        let read = run(job, container, command, wanted.length).await;
        let why = match read {
            Ok(ExecResult { code: 0, stdout }) if wanted.is(&stdout) => {
                files.pop_front();
                continue;
            }
            Ok(ExecResult { code: 0, .. }) | Err(ExecError::TooLong(_)) => {
                "is not yet that of the API server".to_owned()
            }
            Ok(ExecResult { code, .. }) => format!("cannot be read: cat ended with code {code}"),
            Err(ExecError::Other(why)) => format!("cannot be read: {why}"),
            Err(error) => return Err(ended(job, "cat", container, &error)),
        };
        drop(turn);
        if job.late() {
            return Err(End::Failed(format!(
                "after {} s, file {path} of container {container} ({source}) {why}: check that it is no subPath mount and \
                 that the kubelet of its node is well, or ask for a longer time",
                job.seconds()
            )));
        }
        pauses.pause(job).await?;
    }
    Ok(())
}

/// Sends a signal to process 1 of a container.
pub(super) async fn signal(job: &Job<'_>, container: &str, signal: &str) -> Result<(), End> {
    let command = vec!["kill".to_owned(), format!("-{signal}"), "1".to_owned()];
    match run(job, container, command, CHATTER).await {
        Ok(ExecResult { code: 0, .. }) => Ok(()),
        Ok(ExecResult { code, .. }) => Err(End::Failed(format!(
            "kill -{signal} 1 ended with code {code} in container {container}: does process 1 run as the same user? If not, \
             {BY_HTTP}"
        ))),
        Err(error) => Err(ended(job, "kill", container, &error)),
    }
}

async fn run(job: &Job<'_>, container: &str, command: Vec<String>, limit: usize) -> Result<ExecResult, ExecError> {
    let time = job.one_request();
    let run = tokio::time::timeout(time, job.reader.exec(&job.pod(), container, command, limit)).await;
    run.unwrap_or_else(|_| Err(ExecError::Other(format!("it took over {} s", time.as_secs()))))
}

/// What an exec that cannot be done means, in the words of who can change it.
fn ended(job: &Job<'_>, program: &str, container: &str, error: &ExecError) -> End {
    let namespace = &job.asked.namespace;
    End::Failed(match error {
        ExecError::NoPod => return End::Changed,
        ExecError::Forbidden(_) => format!(
            "the manager may not create pods/exec in {namespace}: grant it get and create of pods/exec there, or {BY_HTTP}"
        ),
        ExecError::NoProgram => {
            format!("container {container} has no program {program}: add it to the image, or {BY_HTTP}")
        }
        other => format!("{program} in container {container} did not run: {other}; try again, or {BY_HTTP}"),
    })
}
