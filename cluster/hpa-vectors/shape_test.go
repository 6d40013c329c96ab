package vectors

import (
	"encoding/json"
	"fmt"
	"time"

	v2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	resourcehelpers "k8s.io/component-helpers/resource"
	"k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
)

// The lines of the files: a snapshot as crates/scale reads it, and what the HPA did.

type line struct {
	Case     string    `json:"case"`
	Now      time.Time `json:"now"`
	Snapshot snapshot  `json:"snapshot"`
	HPA      verdict   `json:"hpa"`
}

// run is one autoscaler over some time. The sizes are what the HPA made of them, and now and then somebody else.
type run struct {
	Case    string   `json:"case"`
	Spec    object   `json:"spec"`
	Options *options `json:"options,omitempty"`
	Ticks   []tick   `json:"ticks"`
}

type tick struct {
	Now          time.Time     `json:"now"`
	Target       target        `json:"target"`
	Observations []observation `json:"observations"`
	HPA          verdict       `json:"hpa"`
}

type verdict struct {
	// Desired is the size that was set; nothing if none was.
	Desired *int32   `json:"set,omitempty"`
	Able    string   `json:"able,omitempty"`
	Limited string   `json:"limited,omitempty"`
	Active  string   `json:"active,omitempty"`
	Metrics []metric `json:"metrics,omitempty"`
}

// metric holds thousandths.
type metric struct {
	Replicas    *int32 `json:"replicas,omitempty"`
	Error       string `json:"error,omitempty"`
	Utilization *int32 `json:"utilization,omitempty"`
	Average     *int64 `json:"average,omitempty"`
	Value       *int64 `json:"value,omitempty"`
}

type object = map[string]any

type snapshot struct {
	Spec         object        `json:"spec"`
	Target       target        `json:"target"`
	Pods         []pod         `json:"pods,omitempty"`
	Observations []observation `json:"observations,omitempty"`
	History      *history      `json:"history,omitempty"`
	Options      *options      `json:"options,omitempty"`
}

type target struct {
	Replicas       int32 `json:"replicas"`
	StatusReplicas int32 `json:"statusReplicas"`
}

type pod struct {
	Name       string           `json:"name"`
	Phase      v1.PodPhase      `json:"phase,omitempty"`
	Deleting   bool             `json:"deleting,omitempty"`
	StartedAt  *time.Time       `json:"startedAt,omitempty"`
	Ready      *readiness       `json:"ready,omitempty"`
	Containers []container      `json:"containers,omitempty"`
	Requests   map[string]milli `json:"requests,omitempty"`
	// What the snapshot does not have: an init container that is over when the others start, and what is requested for the pod.
	over *container
	own  map[string]milli
}

type readiness struct {
	Is    *bool     `json:"is,omitempty"`
	Since time.Time `json:"since"`
}

type container struct {
	Name     string           `json:"name"`
	Requests map[string]milli `json:"requests,omitempty"`
	// Whether it is an init container that runs beside the others.
	beside bool
}

type observation struct {
	Pods    map[string]sample `json:"pods,omitempty"`
	Total   *total            `json:"total,omitempty"`
	Missing *missing          `json:"missing,omitempty"`
}

type total struct {
	Values []milli `json:"values"`
}

type missing struct {
	Why string `json:"why"`
}

type sample struct {
	Value  milli     `json:"value"`
	At     time.Time `json:"at"`
	Window int       `json:"windowSeconds,omitempty"`
}

type history struct {
	Recommendations []recommended `json:"recommendations,omitempty"`
	Ups             []change      `json:"ups,omitempty"`
	Downs           []change      `json:"downs,omitempty"`
}

type recommended struct {
	At       time.Time `json:"at"`
	Replicas int32     `json:"replicas"`
}

type change struct {
	At     time.Time `json:"at"`
	Change int32     `json:"change"`
}

type options struct {
	Tolerance      float64 `json:"tolerance"`
	Downscale      int     `json:"downscaleStabilizationSeconds"`
	Initialization int     `json:"cpuInitializationSeconds"`
	Delay          int     `json:"initialReadinessDelaySeconds"`
}

// milli is thousandths, written as a quantity.
type milli int64

func (m milli) text() string {
	if m%1000 == 0 {
		return fmt.Sprint(int64(m / 1000))
	}
	return fmt.Sprintf("%dm", int64(m))
}

func (m milli) MarshalJSON() ([]byte, error) { return json.Marshal(m.text()) }

// view is a snapshot as the controller sees it.
type view struct {
	replicas, statusReplicas int32
	pods                     []any
	answers                  map[string]answer
}

// autoscaler is the HPA of a spec of ours: the words are the same.
func autoscaler(name string, spec object) *v2.HorizontalPodAutoscaler {
	hpa := &v2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	text, err := json.Marshal(spec)
	if err == nil {
		err = json.Unmarshal(text, &hpa.Spec)
	}
	if err != nil {
		panic(err)
	}
	hpa.Spec.ScaleTargetRef = v2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}
	return hpa
}

func seenBy(hpa *v2.HorizontalPodAutoscaler, target target, pods []pod, observations []observation) view {
	seen := view{replicas: target.Replicas, statusReplicas: target.StatusReplicas, answers: map[string]answer{}}
	for index := range pods {
		seen.pods = append(seen.pods, pods[index].kubernetes())
	}
	for index, spec := range hpa.Spec.Metrics {
		if index < len(observations) {
			seen.answers[asked(spec)] = observations[index].answer()
		}
	}
	return seen
}

// asked is what the controller asks for a metric by.
func asked(spec v2.MetricSpec) string {
	switch spec.Type {
	case v2.ResourceMetricSourceType:
		return "/" + string(spec.Resource.Name)
	case v2.ContainerResourceMetricSourceType:
		return spec.ContainerResource.Container + "/" + string(spec.ContainerResource.Name)
	case v2.PodsMetricSourceType:
		return spec.Pods.Metric.Name
	case v2.ObjectMetricSourceType:
		return spec.Object.Metric.Name
	}
	return spec.External.Metric.Name
}

func (o observation) answer() answer {
	if o.Total != nil {
		values := []int64{}
		for _, value := range o.Total.Values {
			values = append(values, int64(value))
		}
		return answer{values: values}
	}
	if o.Pods == nil {
		return answer{}
	}
	samples := metrics.PodMetricsInfo{}
	for pod, sample := range o.Pods {
		samples[pod] = metrics.PodMetric{Timestamp: sample.At, Window: time.Duration(sample.Window) * time.Second, Value: int64(sample.Value)}
	}
	return answer{pods: samples}
}

func (p *pod) kubernetes() *v1.Pod {
	made := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: p.Name, Labels: map[string]string{"app": "web"}}}
	made.Status.Phase = p.Phase
	if p.Phase == "" {
		made.Status.Phase = v1.PodRunning
	}
	if p.Deleting {
		made.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	}
	if p.StartedAt != nil {
		made.Status.StartTime = &metav1.Time{Time: *p.StartedAt}
	}
	if p.Ready != nil {
		status := v1.ConditionUnknown
		if p.Ready.Is != nil {
			status = map[bool]v1.ConditionStatus{true: v1.ConditionTrue, false: v1.ConditionFalse}[*p.Ready.Is]
		}
		ready := v1.PodCondition{Type: v1.PodReady, Status: status, LastTransitionTime: metav1.Time{Time: p.Ready.Since}}
		made.Status.Conditions = []v1.PodCondition{{Type: v1.PodScheduled, Status: v1.ConditionTrue}, ready}
	}
	if p.over != nil {
		made.Spec.InitContainers = append(made.Spec.InitContainers, kubernetes(*p.over))
	}
	for _, one := range p.Containers {
		if one.beside {
			beside, always := kubernetes(one), v1.ContainerRestartPolicyAlways
			beside.RestartPolicy = &always
			made.Spec.InitContainers = append(made.Spec.InitContainers, beside)
		} else {
			made.Spec.Containers = append(made.Spec.Containers, kubernetes(one))
		}
	}
	if p.own != nil {
		made.Spec.Resources = &v1.ResourceRequirements{Requests: list(p.own)}
		p.Requests = map[string]milli{}
		for name, quantity := range resourcehelpers.PodRequests(made, resourcehelpers.PodResourcesOptions{}) {
			p.Requests[string(name)] = milli(quantity.MilliValue())
		}
	}
	return made
}

func kubernetes(one container) v1.Container {
	return v1.Container{Name: one.Name, Resources: v1.ResourceRequirements{Requests: list(one.Requests)}}
}

func list(of map[string]milli) v1.ResourceList {
	requests := v1.ResourceList{}
	for name, value := range of {
		requests[v1.ResourceName(name)] = resource.MustParse(value.text())
	}
	return requests
}
