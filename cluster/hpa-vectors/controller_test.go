package vectors

import (
	"context"
	"errors"
	"reflect"
	"time"
	"unsafe"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	v2 "k8s.io/api/autoscaling/v2"
	"k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	autoscalingclient "k8s.io/client-go/kubernetes/typed/autoscaling/v2"
	v1core "k8s.io/client-go/kubernetes/typed/core/v1"
	scaleclient "k8s.io/client-go/scale"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	defaults "k8s.io/kubernetes/pkg/apis/autoscaling/v2"
	"k8s.io/kubernetes/pkg/controller/podautoscaler"
	"k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
)

// These are the controller's own, linked by name: it exports no way to run it once.

//go:linkname reconcile k8s.io/kubernetes/pkg/controller/podautoscaler.(*HorizontalController).reconcileAutoscaler
func reconcile(a *podautoscaler.HorizontalController, ctx context.Context, hpa *v2.HorizontalPodAutoscaler, key string) error

//go:linkname computeMetric k8s.io/kubernetes/pkg/controller/podautoscaler.(*HorizontalController).computeReplicasForMetric
func computeMetric(a *podautoscaler.HorizontalController, ctx context.Context, hpa *v2.HorizontalPodAutoscaler, spec v2.MetricSpec, specReplicas, statusReplicas int32, selector labels.Selector, status *v2.MetricStatus) (int32, string, time.Time, v2.HorizontalPodAutoscalerCondition, error)

//go:linkname normalize k8s.io/kubernetes/pkg/controller/podautoscaler.(*HorizontalController).normalizeDesiredReplicas
func normalize(a *podautoscaler.HorizontalController, hpa *v2.HorizontalPodAutoscaler, key string, current, desired, least int32) int32

//go:linkname normalizeBehaving k8s.io/kubernetes/pkg/controller/podautoscaler.(*HorizontalController).normalizeDesiredReplicasWithBehaviors
func normalizeBehaving(a *podautoscaler.HorizontalController, hpa *v2.HorizontalPodAutoscaler, key string, current, desired, least int32) int32

// The layouts of what the controller remembers.
type recommendation struct {
	replicas int32
	at       time.Time
}

type event struct {
	change   int32
	at       time.Time
	outdated bool
}

// memory is what the controller remembers of one autoscaler.
type memory struct {
	recommendations []recommendation
	ups, downs      []event
}

// controller is the HPA controller in a world of one workload.
type controller struct {
	hpa   *podautoscaler.HorizontalController
	pods  cache.Indexer
	world *world
}

// world is what the controller sees, and what it did to it.
type world struct {
	metrics.MetricsClient
	scale   autoscalingv1.Scale
	set     *int32
	status  *v2.HorizontalPodAutoscalerStatus
	answers map[string]answer
}

// answer is what is measured for one metric; nothing is an error.
type answer struct {
	pods   metrics.PodMetricsInfo
	values []int64
}

func newController(options options) *controller {
	world := &world{}
	factory := informers.NewSharedInformerFactory(nil, 0)
	pods := factory.Core().V1().Pods()
	seconds := func(number int) time.Duration { return time.Duration(number) * time.Second }
	hpa := podautoscaler.NewHorizontalController(context.Background(), noEvents{}, world, world, mapper{}, world,
		factory.Autoscaling().V2().HorizontalPodAutoscalers(), pods, 15*time.Second, seconds(options.Downscale), options.Tolerance,
		seconds(options.Initialization), seconds(options.Delay))
	controller := &controller{hpa, pods.Informer().GetIndexer(), world}
	*field[record.EventRecorder](controller, "eventRecorder") = &record.FakeRecorder{}
	return controller
}

// field is a field of the controller.
func field[T any](of *controller, name string) *T {
	return (*T)(unsafe.Pointer(reflect.ValueOf(of.hpa).Elem().FieldByName(name).UnsafeAddr()))
}

func (c *controller) remember(key string, memory memory) {
	(*field[map[string][]recommendation](c, "recommendations"))[key] = append([]recommendation(nil), memory.recommendations...)
	(*field[map[string][]event](c, "scaleUpEvents"))[key] = append([]event(nil), memory.ups...)
	(*field[map[string][]event](c, "scaleDownEvents"))[key] = append([]event(nil), memory.downs...)
}

func (c *controller) memory(key string) memory {
	return memory{
		(*field[map[string][]recommendation](c, "recommendations"))[key],
		(*field[map[string][]event](c, "scaleUpEvents"))[key],
		(*field[map[string][]event](c, "scaleDownEvents"))[key],
	}
}

// judge is one sync of the controller, and a second look at what a sync overwrites in the end.
func judge(working, second *controller, hpa *v2.HorizontalPodAutoscaler, seen view) verdict {
	ctx, key := context.Background(), "ns/"+hpa.Name
	defaults.SetDefaults_HorizontalPodAutoscaler(hpa)
	for _, one := range []*controller{working, second} {
		one.pods.Replace(seen.pods, "")
		one.world.scale = autoscalingv1.Scale{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"},
			Spec:       autoscalingv1.ScaleSpec{Replicas: seen.replicas},
			Status:     autoscalingv1.ScaleStatus{Replicas: seen.statusReplicas, Selector: "app=web"},
		}
		one.world.set, one.world.status, one.world.answers = nil, nil, seen.answers
	}
	known := working.memory(key)
	if known.recommendations == nil {
		// So a sync begins.
		known.recommendations = []recommendation{{seen.replicas, time.Now()}}
	}
	second.remember(key, known)
	failed := reconcile(working.hpa, ctx, hpa.DeepCopy(), key)
	found := verdict{Desired: working.world.set, Active: reason(working.world.status, v2.ScalingActive)}
	found.Limited = reason(working.world.status, v2.ScalingLimited)
	if found.Active == "" && found.Desired == nil && failed != nil {
		panic(failed)
	}
	if found.Active == "" || found.Active == "ScalingDisabled" {
		return found
	}
	asked := int32(0)
	for _, spec := range hpa.Spec.Metrics {
		var status v2.MetricStatus
		replicas, _, _, condition, err := computeMetric(second.hpa, ctx, hpa.DeepCopy(), spec, seen.replicas, seen.statusReplicas,
			labels.SelectorFromSet(labels.Set{"app": "web"}), &status)
		if err != nil {
			found.Metrics = append(found.Metrics, metric{Error: condition.Reason})
			continue
		}
		asked = max(asked, replicas)
		found.Metrics = append(found.Metrics, measured(replicas, status, seen.statusReplicas))
	}
	if found.Active == "ValidMetricFound" {
		judged := hpa.DeepCopy()
		if hpa.Spec.Behavior == nil {
			normalize(second.hpa, judged, key, seen.replicas, asked, *hpa.Spec.MinReplicas)
		} else {
			normalizeBehaving(second.hpa, judged, key, seen.replicas, asked, *hpa.Spec.MinReplicas)
		}
		found.Able = reason(&judged.Status, v2.AbleToScale)
	}
	return found
}

func reason(status *v2.HorizontalPodAutoscalerStatus, of v2.HorizontalPodAutoscalerConditionType) string {
	if status != nil {
		for _, condition := range status.Conditions {
			if condition.Type == of {
				return condition.Reason
			}
		}
	}
	return ""
}

func measured(replicas int32, status v2.MetricStatus, pods int32) metric {
	var current v2.MetricValueStatus
	switch {
	case status.Resource != nil:
		current = status.Resource.Current
	case status.ContainerResource != nil:
		current = status.ContainerResource.Current
	case status.Pods != nil:
		current = status.Pods.Current
	case status.Object != nil:
		current = status.Object.Current
	case status.External != nil:
		current = status.External.Current
	}
	found := metric{Replicas: &replicas, Utilization: current.AverageUtilization}
	// An average over no pods is what the processor makes of it.
	if current.AverageValue != nil && (pods > 0 || status.Object == nil && status.External == nil) {
		average := current.AverageValue.MilliValue()
		found.Average = &average
	}
	if current.Value != nil {
		value := current.Value.MilliValue()
		found.Value = &value
	}
	return found
}

// What the controller asks and tells.

func (w *world) Scales(string) scaleclient.ScaleInterface { return scales{w: w} }

type scales struct {
	scaleclient.ScaleInterface
	w *world
}

func (s scales) Get(context.Context, schema.GroupResource, string, metav1.GetOptions) (*autoscalingv1.Scale, error) {
	return s.w.scale.DeepCopy(), nil
}

func (s scales) Update(_ context.Context, _ schema.GroupResource, scale *autoscalingv1.Scale, _ metav1.UpdateOptions) (*autoscalingv1.Scale, error) {
	s.w.set = &scale.Spec.Replicas
	return scale, nil
}

func (w *world) HorizontalPodAutoscalers(string) autoscalingclient.HorizontalPodAutoscalerInterface {
	return autoscalers{w: w}
}

type autoscalers struct {
	autoscalingclient.HorizontalPodAutoscalerInterface
	w *world
}

func (a autoscalers) UpdateStatus(_ context.Context, hpa *v2.HorizontalPodAutoscaler, _ metav1.UpdateOptions) (*v2.HorizontalPodAutoscaler, error) {
	a.w.status = hpa.Status.DeepCopy()
	return hpa, nil
}

type mapper struct{ apimeta.RESTMapper }

func (mapper) RESTMappings(schema.GroupKind, ...string) ([]*apimeta.RESTMapping, error) {
	return []*apimeta.RESTMapping{{Resource: schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}}}, nil
}

type noEvents struct{}

func (noEvents) Events(string) v1core.EventInterface { return nil }

var errNothing = errors.New("nothing was measured")

func (w *world) samples(name string) (metrics.PodMetricsInfo, time.Time, error) {
	answer := w.answers[name]
	if answer.pods == nil {
		return nil, time.Time{}, errNothing
	}
	// The controller takes samples out of it.
	copied := metrics.PodMetricsInfo{}
	for pod, sample := range answer.pods {
		copied[pod] = sample
	}
	return copied, time.Now(), nil
}

func (w *world) GetResourceMetric(_ context.Context, resource v1.ResourceName, _ string, _ labels.Selector, container string) (metrics.PodMetricsInfo, time.Time, error) {
	return w.samples(container + "/" + string(resource))
}

func (w *world) GetRawMetric(name, _ string, _, _ labels.Selector) (metrics.PodMetricsInfo, time.Time, error) {
	return w.samples(name)
}

func (w *world) GetObjectMetric(name, _ string, _ *v2.CrossVersionObjectReference, _ labels.Selector) (int64, time.Time, error) {
	answer := w.answers[name]
	if answer.values == nil {
		return 0, time.Time{}, errNothing
	}
	return answer.values[0], time.Now(), nil
}

func (w *world) GetExternalMetric(name, _ string, _ labels.Selector) ([]int64, time.Time, error) {
	answer := w.answers[name]
	if answer.values == nil {
		return nil, time.Time{}, errNothing
	}
	return answer.values, time.Now(), nil
}
