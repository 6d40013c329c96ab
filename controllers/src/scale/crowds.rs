//! Where the metrics of all pods of a namespace are read at once, for many autoscalers of it, and where that is too much: then each
//! reads its own. Not what the metrics say.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use trimtab::Unanswered;
use trimtab_scale::questions::MetricQuestion;

use super::metrics::resource_path;

/// For how long it is remembered of a namespace that all its pods are too many.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(5);

/// The namespaces with too many pods, and when that was found.
#[derive(Default)]
pub(super) struct Crowds(Mutex<HashMap<String, Timestamp>>);

impl Crowds {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_known(&self, namespace: &str, now: Timestamp) -> bool {
        self.lock().get(namespace).is_some_and(|found| now.duration_since(*found) < REMEMBERED)
    }

    fn note(&self, namespace: &str, now: Timestamp) {
        let mut found = self.lock();
        found.retain(|_, found| now.duration_since(*found) < REMEMBERED);
        found.insert(namespace.to_owned(), now);
    }

    /// What is read for a question, and whether it is of all pods of the namespace: if that is asked for and not too long. Whoever reads
    /// is told the path, and whether it is that of all pods.
    pub(super) async fn read<T, F: Future<Output = Arc<Result<T, Unanswered>>>>(
        &self,
        question: &MetricQuestion,
        now: Timestamp,
        read: impl Fn(String, bool) -> F,
    ) -> (Arc<Result<T, Unanswered>>, bool) {
        if question.wide && !self.is_known(&question.namespace, now) {
            let all = read(resource_path(question, true), true).await;
            // Without a selector its own are all.
            if question.selector.is_empty() || !matches!(&*all, Err(Unanswered::TooLong(_))) {
                return (all, true);
            }
            self.note(&question.namespace, now);
        }
        (read(resource_path(question, false), question.selector.is_empty()).await, false)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use trimtab_crds::MetricSpec;

    use super::*;

    fn question(wide: bool, selector: &str) -> MetricQuestion {
        MetricQuestion {
            metric: MetricSpec::default_cpu(),
            namespace: "shop".to_owned(),
            selector: selector.to_owned(),
            since: Timestamp::UNIX_EPOCH,
            patience_ms: 5_000,
            wide,
        }
    }

    /// What is read of a namespace where all pods are too many, or are not: whether of all, for each read, and what came of it.
    async fn check(crowds: &Crowds, too_many: bool, question: MetricQuestion, second: i64) -> (Vec<bool>, bool, bool) {
        let reads = Mutex::new(vec![]);
        let read = |path: String, _| {
            let all = !path.contains("labelSelector=");
            reads.lock().unwrap().push(all);
            async move {
                Arc::new(if all && too_many { Err(Unanswered::TooLong("8 MiB".to_owned())) } else { Ok(json!({})) })
            }
        };
        let (found, wide) = crowds.read(&question, Timestamp::from_second(second).unwrap(), read).await;
        (reads.into_inner().unwrap(), wide, found.is_ok())
    }

    #[tokio::test]
    async fn where_all_pods_are_too_many_each_reads_its_own() {
        let crowds = Crowds::default();
        assert_eq!(check(&crowds, false, question(false, "app=web"), 0).await, (vec![false], false, true));
        assert_eq!(check(&crowds, false, question(true, "app=web"), 0).await, (vec![true], true, true));
        assert_eq!(check(&crowds, true, question(true, "app=web"), 0).await, (vec![true, false], false, true));
        assert_eq!(
            check(&crowds, true, question(true, "app=db"), 299).await,
            (vec![false], false, true),
            "it is remembered"
        );
        assert_eq!(
            check(&crowds, false, question(true, "app=db"), 300).await,
            (vec![true], true, true),
            "for some minutes"
        );
        let other = MetricQuestion { namespace: "other".to_owned(), ..question(true, "app=web") };
        assert_eq!(check(&crowds, true, other, 1).await, (vec![true, false], false, true));
        assert_eq!(
            check(&Crowds::default(), true, question(true, ""), 0).await,
            (vec![true], true, false),
            "its own are all"
        );
    }
}
