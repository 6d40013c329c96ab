//! Names that Trimtab puts on objects: annotations, labels, kinds. Each is written down once, here.

use trimtab_plan::Kind;

/// API group of all our kinds.
pub const GROUP: &str = "trimtab.dev";
/// API version of all our kinds.
pub const VERSION: &str = "v1alpha1";

/// On a Deployment: the name of the `ReleasePlan` that holds its changes. Empty opts out.
pub const PLAN: &str = "trimtab.dev/plan";
/// On a Deployment: who made the change that is held (`by NAME`), or `released`. Written by the hold policy.
pub const HELD: &str = "trimtab.dev/held";
/// Value of [`HELD`] that lets a change go.
pub const RELEASED: &str = "released";
/// Start of [`HELD`] where a person had paused the Deployment before it was changed.
pub const HELD_WHILE_PAUSED: &str = "paused, ";
/// On a `ReleasePlan`: a request, `VERB` or `VERB:ID`. A request is carried out once; write another id to ask again.
pub const REQUEST: &str = "trimtab.dev/request";
/// On a pod template: when a restart was asked for (the id of the request).
pub const RESTARTED: &str = "trimtab.dev/restarted";
/// Label on the objects that Trimtab makes: the plan that they belong to.
pub const PLAN_LABEL: &str = "trimtab.dev/plan";
/// Annotation on a Deployment without replicas: how many the write asked for that changed its template, and of which generation.
/// Written by the hold policy.
pub const WAKE_TO: &str = "trimtab.dev/wake-to";
/// Annotation on a canary ReplicaSet: the revision's digest, with its algorithm.
pub const DIGEST: &str = "trimtab.dev/digest";
/// Annotation on a canary ReplicaSet: the Deployment that it is a canary of.
pub const CANARY_OF: &str = "trimtab.dev/canary-of";
/// On a pod template: which revision of each source its pods read, `cm/web=4f7c19ab20,secret/tls=99aa01cd34`.
pub const CONFIG: &str = "trimtab.dev/config";
/// Annotation on a copy: the source that it is a copy of, `cm/web`.
pub const COPY_OF: &str = "trimtab.dev/copy-of";
/// Annotation on a copy: the number of the revision, from 1.
pub const CONFIG_REVISION: &str = "trimtab.dev/config-revision";
/// Annotation on a copy: who wrote the data, as the API server recorded it.
pub const CONFIG_AUTHOR: &str = "trimtab.dev/config-author";
/// Label on every copy.
pub const COPY_LABEL: &str = "trimtab.dev/config-copy";
/// On a StatefulSet or DaemonSet: `Referenced` freezes the configuration of its revisions, without steps.
pub const CONFIG_TRACK: &str = "trimtab.dev/config-track";
/// On a StatefulSet or DaemonSet: the live revisions that were last taken into account, in the form of [`CONFIG`].
pub const CONFIG_CONSIDERED: &str = "trimtab.dev/config-considered";
/// On a StatefulSet or DaemonSet: what the pods of templates without pins read, by template, so that an undo to one of them
/// can bring it back.
pub const CONFIG_UNPINNED: &str = "trimtab.dev/config-unpinned";
/// On a `ReleasePlan`: revisions that a person pinned, in the form of [`CONFIG`]. They stay until they are taken off.
pub const CONFIG_PINNED: &str = "trimtab.dev/config-pinned";

/// On a workload without a plan, or on a source: what restarts it for a change of configuration. `auto`, kinds (`configmaps`,
/// `secrets`), names (`cm/web,secret/tls`), or `off`.
pub const RELOAD: &str = "trimtab.dev/reload";
/// On a workload: sources that never restart it, kinds or names as in [`RELOAD`].
pub const RELOAD_EXCLUDE: &str = "trimtab.dev/reload-exclude";
/// On a workload: the workloads of its namespace that are reloaded before it, `deployment/api,statefulset/db`.
pub const RELOAD_AFTER: &str = "trimtab.dev/reload-after";
/// On a workload: `restart` (the default), `http` or `signal`.
pub const RELOAD_MODE: &str = "trimtab.dev/reload-mode";
/// On a workload that is reloaded by HTTP: where a POST makes it read its files anew, `:8080/-/reload`.
pub const RELOAD_HTTP: &str = "trimtab.dev/reload-http";
/// On a workload that is reloaded by a signal: the signal, and the container if there are several, `HUP` or `nginx:HUP`.
pub const RELOAD_SIGNAL: &str = "trimtab.dev/reload-signal";
/// On a workload that is reloaded hot: where it answers with a value that it has read, `:8080/=cm/web:app.conf`.
pub const RELOAD_VERIFY: &str = "trimtab.dev/reload-verify";
/// On a workload: the revision of each source that its pods have, or are about to have. Written by the reloader.
pub const RELOAD_APPLIED: &str = "trimtab.dev/reload-applied";
/// On a workload whose sources are named by expressions: digests of those that were looked for, so that a source which one
/// of them fits is known to be new.
pub const RELOAD_EXPRESSIONS: &str = "trimtab.dev/reload-expressions";
/// On a workload: its reloads of the last hour. Written by the reloader.
pub const RELOAD_LOG: &str = "trimtab.dev/reload-log";
/// On a workload whose kind keeps no conditions of others: why it is not reloaded. Written by the reloader.
pub const RELOAD_BLOCKED: &str = "trimtab.dev/reload-blocked";
/// On a pod template: the revisions that its pods were restarted for. On a pod: those that it is to read without a restart.
pub const RELOADED: &str = "trimtab.dev/reloaded";
/// Label on what is kept of a Job while it is made anew.
pub const RELOADED_JOB: &str = "trimtab.dev/reloaded-job";

/// Kubernetes' label that tells a Deployment's ReplicaSets apart.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// Kubernetes' annotation with a ReplicaSet's revision number.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotation of the Deployment controller on a ReplicaSet: the numbers of its earlier revisions.
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Kubernetes' annotation with the Deployment's size when the ReplicaSet was last scaled.
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// Kubernetes' annotation with the Deployment's largest size, surge included.
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// `apps/v1 Deployment`
pub const DEPLOYMENT: Kind = Kind::namespaced("apps", "v1", "Deployment", "deployments");
/// `apps/v1 ReplicaSet`
pub const REPLICA_SET: Kind = Kind::namespaced("apps", "v1", "ReplicaSet", "replicasets");
/// `v1 Pod`
pub const POD: Kind = Kind::namespaced("", "v1", "Pod", "pods");
/// `apps/v1 StatefulSet`
pub const STATEFUL_SET: Kind = Kind::namespaced("apps", "v1", "StatefulSet", "statefulsets");
/// `apps/v1 DaemonSet`
pub const DAEMON_SET: Kind = Kind::namespaced("apps", "v1", "DaemonSet", "daemonsets");
/// `batch/v1 CronJob`
pub const CRON_JOB: Kind = Kind::namespaced("batch", "v1", "CronJob", "cronjobs");
/// `batch/v1 Job`
pub const JOB: Kind = Kind::namespaced("batch", "v1", "Job", "jobs");
/// `argoproj.io/v1alpha1 Rollout`, of Argo Rollouts
pub const ROLLOUT: Kind = Kind::namespaced("argoproj.io", "v1alpha1", "Rollout", "rollouts");
/// `apps/v1 ControllerRevision`
pub const CONTROLLER_REVISION: Kind = Kind::namespaced("apps", "v1", "ControllerRevision", "controllerrevisions");
/// `v1 ConfigMap`
pub const CONFIG_MAP: Kind = Kind::namespaced("", "v1", "ConfigMap", "configmaps");
/// `v1 Secret`
pub const SECRET: Kind = Kind::namespaced("", "v1", "Secret", "secrets");
/// `trimtab.dev/v1alpha1 ReleasePlan`
pub const RELEASE_PLAN: Kind = Kind::namespaced(GROUP, VERSION, "ReleasePlan", "releaseplans");
/// `trimtab.dev/v1alpha1 Release`
pub const RELEASE: Kind = Kind::namespaced(GROUP, VERSION, "Release", "releases");
/// `trimtab.dev/v1alpha1 ConfigPolicy`
pub const CONFIG_POLICY: Kind = Kind::namespaced(GROUP, VERSION, "ConfigPolicy", "configpolicies");
/// `trimtab.dev/v1alpha1 Autoscaler`
pub const AUTOSCALER: Kind = Kind::namespaced(GROUP, VERSION, "Autoscaler", "autoscalers");
