package vectors

import (
	"fmt"
	"math"
	"math/rand"
	"time"

	v1 "k8s.io/api/core/v1"
)

// chance makes cases. Close to the edges more often than by chance alone.
type chance struct {
	*rand.Rand
	now time.Time
}

func (c chance) percent(of int) bool { return c.Intn(100) < of }

func pick[T any](c chance, of ...T) T { return of[c.Intn(len(of))] }

func (c chance) before(seconds ...float64) time.Time {
	at := c.now.Add(-time.Duration(pick(c, seconds...) * float64(time.Second)))
	// A nanosecond to both sides of an edge.
	return at.Add(time.Duration(pick(c, 0, 0, 0, 0, -1, 1)))
}

// factor is how much more is used than should be.
func (c chance) factor() float64 {
	return pick(c, 0, 0.05, 0.3, 0.5, 0.85, 0.89, 0.9, 0.91, 0.95, 0.99, 1, 1, 1.01, 1.05, 1.09, 1.1, 1.11, 1.2, 1.5, 2, 3, c.Float64()*2, 0.8+c.Float64()*0.4)
}

// source is a metric in the making.
type source struct {
	spec      object
	perPod    bool
	resource  string
	container string
	percent   int64
	average   milli
	value     milli
}

func target_(kind, field string, value any) object { return object{"type": kind, field: value} }

func (c chance) source(index int, kinds ...string) source {
	name := fmt.Sprintf("m%d", index)
	amount := pick[milli](c, 1, 7, 100, 250, 1000, 1500, 10000, 100000, 333333)
	quantity := amount.text()
	if c.percent(10) {
		quantity = pick(c, "1k", "0.5", "1e2", "2Ki", "1500u")
		amount = map[string]milli{"1k": 1000000, "0.5": 500, "1e2": 100000, "2Ki": 2048000, "1500u": 2}[quantity]
	}
	identified := object{"name": name}
	kind := pick(c, kinds...)
	switch kind {
	case "Resource", "ContainerResource":
		made := source{perPod: true, resource: pick(c, "cpu", "cpu", "memory")}
		inner := object{"name": made.resource}
		if kind == "ContainerResource" {
			made.container = pick(c, "a", "a", "a", "a", "a", "a", "b", "side")
			inner["container"] = made.container
		}
		if c.percent(65) {
			made.percent = int64(pick(c, 1, 50, 60, 80, 80, 100, 150, 33))
			inner["target"] = target_("Utilization", "averageUtilization", made.percent)
		} else {
			made.average = amount
			inner["target"] = target_("AverageValue", "averageValue", quantity)
		}
		made.spec = object{"type": kind, map[string]string{"Resource": "resource", "ContainerResource": "containerResource"}[kind]: inner}
		return made
	case "Pods":
		inner := object{"metric": identified, "target": target_("AverageValue", "averageValue", quantity)}
		return source{perPod: true, average: amount, spec: object{"type": kind, "pods": inner}}
	}
	made, aim := source{}, object{}
	if c.percent(50) {
		made.value, aim = amount, target_("Value", "value", quantity)
	} else {
		made.average, aim = amount, target_("AverageValue", "averageValue", quantity)
	}
	inner := object{"metric": identified, "target": aim}
	if kind == "Object" {
		inner["describedObject"] = object{"kind": "Ingress", "name": "web"}
		made.spec = object{"type": kind, "object": inner}
	} else {
		made.spec = object{"type": kind, "external": inner}
	}
	return made
}

func (c chance) pods(count int) []pod {
	pods := make([]pod, count)
	alike := c.percent(60)
	worst := pick(c, 0, 4, 12, 24)
	template := c.containers(worst)
	for index := range pods {
		one := pod{Name: fmt.Sprintf("p%d", index), Containers: template}
		if !alike {
			one.Containers = c.containers(worst)
		}
		if c.percent(worst) {
			one.Phase = pick(c, v1.PodPending, v1.PodPending, v1.PodFailed, v1.PodSucceeded, v1.PodUnknown)
		}
		one.Deleting = c.percent(worst / 2)
		started := c.before(0, 1, 9, 29, 30, 31, 59, 60, 61, 119, 120, 299, 300, 301, 900, 900, 900, 900)
		if !c.percent(worst / 4) {
			one.StartedAt = &started
		}
		ready := &readiness{Since: started.Add(time.Duration(pick(c, 0, 1, 5, 9, 10, 11, 29, 30, 31, 45, 200)) * time.Second)}
		if !c.percent(worst / 5) {
			is := !c.percent(worst)
			ready.Is = &is
		}
		if !c.percent(worst / 4) {
			one.Ready = ready
		}
		if c.percent(15) {
			one.over = &container{Name: "over", Requests: map[string]milli{"cpu": 5000, "memory": 1}}
		}
		if c.percent(6) {
			one.own = map[string]milli{"cpu": milli(c.Intn(2000) + 1)}
			if c.percent(50) {
				one.own["memory"] = milli(c.Intn(1000000) + 1)
			}
		}
		one.kubernetes()
		pods[index] = one
	}
	return pods
}

func (c chance) containers(worst int) []container {
	request := func() map[string]milli {
		made := map[string]milli{}
		if !c.percent(worst / 8) {
			made["cpu"] = pick[milli](c, 100, 100, 250, 1000, 333)
		}
		if !c.percent(worst / 8) {
			made["memory"] = pick[milli](c, 64000, 128000, 1)
		}
		return made
	}
	all := []container{{Name: "a", Requests: request()}}
	if c.percent(25) {
		all = append(all, container{Name: "b", Requests: request()})
	}
	if c.percent(20) {
		all = append(all, container{Name: "side", Requests: request(), beside: true})
	}
	return all
}

// observed is what is measured for a metric.
func (c chance) observed(from source, pods []pod, target target) observation {
	if c.percent(7) {
		return observation{Missing: &missing{"ServerError"}}
	}
	factor, noise := c.factor(), pick(c, 0, 0, 0.05, 0.6)
	vary := func(value float64) milli { return milli(math.Round(value * (1 + noise*(c.Float64()*2-1)))) }
	if !from.perPod {
		whole := vary(float64(from.value) * factor)
		if from.value == 0 {
			whole = vary(float64(from.average) * factor * float64(max(1, pick(c, target.Replicas, target.StatusReplicas))))
		}
		if c.percent(3) {
			whole = -whole
		}
		if _, external := from.spec["external"]; external && c.percent(40) {
			part := milli(c.Int63n(int64(whole.size()) + 1))
			return observation{Total: &total{[]milli{part, whole - part}}}
		}
		return observation{Total: &total{[]milli{whole}}}
	}
	samples := map[string]sample{}
	lost, late := pick(c, 0, 0, 0, 10, 40, 100), pick(c, 0, 0, 30)
	for _, one := range pods {
		if c.percent(lost) {
			continue
		}
		at := c.before(0, 5, 15, 15, 30)
		window := pick(c, 0, 15, 30)
		if one.Ready != nil && c.percent(late) {
			at = one.Ready.Since.Add(time.Duration(window)*time.Second + time.Duration(pick(c, -1, 0, 1)))
		}
		should := float64(from.average)
		if from.percent > 0 {
			should = float64(one.requested(from)) * float64(from.percent) / 100
		}
		samples[one.Name] = sample{vary(should * factor), at, window}
	}
	if c.percent(8) {
		samples["stray"] = sample{vary(float64(max(from.average, 100)) * c.factor()), c.before(0), 15}
	}
	if len(samples) == 0 {
		return observation{Missing: &missing{"NoMetrics"}}
	}
	return observation{Pods: samples}
}

func (m milli) size() milli { return max(m, -m) }

func (p pod) requested(from source) milli {
	if p.Requests != nil && from.container == "" {
		return p.Requests[from.resource]
	}
	sum := milli(0)
	for _, one := range p.Containers {
		if from.container == "" || from.container == one.Name {
			sum += one.Requests[from.resource]
		}
	}
	return sum
}

func (c chance) behavior() object {
	made := object{}
	if c.percent(75) {
		made["scaleUp"] = c.rules(pick(c, 0, 0, 30, 60, 300))
	}
	if c.percent(75) {
		made["scaleDown"] = c.rules(pick(c, 0, 0, 0, 60, 300, 600))
	}
	return made
}

func (c chance) rules(window int) object {
	made := object{}
	if c.percent(70) {
		made["stabilizationWindowSeconds"] = window
	}
	if c.percent(40) {
		made["selectPolicy"] = pick(c, "Max", "Max", "Min", "Min", "Disabled")
	}
	if c.percent(30) {
		made["tolerance"] = pick[any](c, "0.1", "0.05", "50m", "0", "0.3", "333m", "1", "0.2", "1e-1", 0)
	}
	if c.percent(70) {
		policies := []object{}
		for range 1 + c.Intn(3) {
			value := pick(c, 1, 2, 4, 10, 50)
			kind := pick(c, "Pods", "Percent")
			if kind == "Percent" {
				value = pick(c, 1, 10, 33, 50, 100, 150, 300)
			}
			policies = append(policies, object{"type": kind, "value": value, "periodSeconds": pick(c, 1, 15, 60, 60, 300, 1800)})
		}
		made["policies"] = policies
	}
	return made
}

func (c chance) history(size int32) *history {
	seconds := []float64{0, 1, 10, 15, 15, 29, 30, 31, 59, 60, 61, 100, 200, 299, 300, 301, 400, 599, 600, 1800, 1801}
	made := &history{}
	around := func() int32 { return max(0, size+int32(c.Intn(9))-4) }
	for range pick(c, 0, 1, 2, 4) {
		made.Recommendations = append(made.Recommendations, recommended{c.before(seconds...), around()})
	}
	for range pick(c, 0, 1, 2, 3) {
		made.Ups = append(made.Ups, change{c.before(seconds...), int32(1 + c.Intn(5))})
	}
	for range pick(c, 0, 1, 2, 3) {
		made.Downs = append(made.Downs, change{c.before(seconds...), int32(1 + c.Intn(5))})
	}
	sortByTime(made)
	return made
}
