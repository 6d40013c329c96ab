package vectors

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var (
	update = flag.Bool("update", false, "write the files instead of comparing them")
	times  = flag.Int("times", 1, "with -update: so many times the cases, to look further than what is kept")
)

// The cluster's options that cases have; the first are the defaults.
var sets = []*options{
	nil,
	{Tolerance: 0.2, Downscale: 60, Initialization: 60, Delay: 10},
	{Tolerance: 0, Downscale: 0, Initialization: 120, Delay: 0},
}

type pair struct{ working, second *controller }

func TestVectors(t *testing.T) {
	pairs := []pair{}
	for _, set := range sets {
		if set == nil {
			set = &options{Tolerance: 0.1, Downscale: 300, Initialization: 300, Delay: 30}
		}
		// Made out here: what runs on in them has the true clock, what is asked of them below a faked one.
		pairs = append(pairs, pair{newController(*set), newController(*set)})
	}
	synctest.Test(t, func(t *testing.T) {
		file(t, "metrics.jsonl", 300**times, func(c chance, name string) any { return c.oneOfMetrics(pairs, name) })
		file(t, "limits.jsonl", 390**times, func(c chance, name string) any { return c.oneOfLimits(pairs, name) })
		file(t, "runs.jsonl", 34**times, func(c chance, name string) any { return c.run(pairs, name) })
		file(t, "wrapped.jsonl", len(wrapped), func(c chance, name string) any { return c.oneWrapped(pairs, name) })
	})
}

func file(t *testing.T, name string, count int, make func(chance, string) any) {
	var text bytes.Buffer
	for number := range count {
		made := make(chance{rand.New(rand.NewSource(int64(number))), time.Now().UTC()}, fmt.Sprintf("%s-%d", name[:len(name)-6], number))
		written, err := json.Marshal(made)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(append(written, '\n'))
	}
	path := filepath.Join("..", "..", "crates", "scale", "tests", "golden", name)
	if *update {
		if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	known, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(known, text.Bytes()) {
		t.Errorf("%s is not what the controller does (%v): run this with -update", path, err)
	}
}

func (c chance) decide(pairs []pair, name string, set int, seen snapshot) line {
	seen.Options = sets[set]
	hpa := autoscaler(name, seen.Spec)
	view := seenBy(hpa, seen.Target, seen.Pods, seen.Observations)
	if len(hpa.Spec.Metrics) == 0 && len(seen.Observations) > 0 {
		view.answers["/cpu"] = seen.Observations[0].answer()
	}
	working := pairs[set].working
	working.remember("ns/"+name, remembered(seen.History))
	return line{name, c.now, seen, judge(working, pairs[set].second, hpa, view)}
}

func remembered(history *history) memory {
	made := memory{}
	if history == nil {
		return made
	}
	for _, one := range history.Recommendations {
		made.recommendations = append(made.recommendations, recommendation{one.Replicas, one.At})
	}
	events := func(of []change) (all []event) {
		for _, one := range of {
			all = append(all, event{one.Change, one.At, false})
		}
		return all
	}
	made.ups, made.downs = events(history.Ups), events(history.Downs)
	return made
}

func sortByTime(history *history) {
	slices.SortFunc(history.Recommendations, func(a, b recommended) int { return a.At.Compare(b.At) })
	for _, list := range [][]change{history.Ups, history.Downs} {
		slices.SortFunc(list, func(a, b change) int { return a.At.Compare(b.At) })
	}
}

// oneOfMetrics is about what metrics ask for.
func (c chance) oneOfMetrics(pairs []pair, name string) line {
	count := pick(c, 0, 1, 2, 3, 3, 4, 5, 7)
	seen := snapshot{Pods: c.pods(count)}
	size := int32(max(1, count+pick(c, 0, 0, 0, 0, 1, -1, 2, -3)))
	seen.Target = target{size, max(0, size+int32(pick(c, 0, 0, 0, 1, 3, -1)))}
	seen.Spec = object{"maxReplicas": pick(c, 10, 30, 1000), "minReplicas": 1}
	if c.percent(60) {
		// So that what a metric asks for is seen in the size.
		seen.Spec["behavior"] = object{"scaleDown": object{"stabilizationWindowSeconds": 0}, "scaleUp": object{}}
		seen.History = &history{Recommendations: []recommended{{c.now.Add(-time.Hour), size}}}
		if c.percent(40) {
			seen.Spec["behavior"] = object{"scaleDown": c.rules(0), "scaleUp": c.rules(0)}
		}
	}
	specs, used := []object{}, map[string]bool{}
	for index := range pick(c, 1, 1, 2, 2, 3, 4) {
		from := c.source(index, "Resource", "Resource", "Resource", "ContainerResource", "Pods", "Pods", "Object", "External")
		key := from.container + "/" + from.resource
		if from.resource != "" && used[key] {
			continue
		}
		used[key] = true
		specs = append(specs, from.spec)
		seen.Observations = append(seen.Observations, c.observed(from, seen.Pods, seen.Target))
	}
	if c.percent(4) {
		// What is measured if the spec names nothing.
		seen.Observations = []observation{c.observed(source{perPod: true, resource: "cpu", percent: 80}, seen.Pods, seen.Target)}
	} else {
		seen.Spec["metrics"] = specs
	}
	return c.decide(pairs, name, pick(c, 0, 0, 0, 1, 2), seen)
}

// oneOfLimits is about what is left of what is asked for.
func (c chance) oneOfLimits(pairs []pair, name string) line {
	size := pick[int32](c, 1, 2, 3, 5, 5, 8, 8, 10, 10, 17, 17, 40, 40, 100)
	if c.percent(3) {
		size = 0
	}
	seen := snapshot{Target: target{size, size}, History: c.history(size)}
	seen.Spec = object{"maxReplicas": pick(c, 8, 20, 50, 50, 50, 1000, 1000)}
	if c.percent(60) {
		seen.Spec["minReplicas"] = pick(c, 1, 2, 3, 9)
	}
	if least, is := seen.Spec["minReplicas"].(int); is && least > seen.Spec["maxReplicas"].(int) {
		delete(seen.Spec, "minReplicas")
	}
	if c.percent(80) {
		seen.Spec["behavior"] = c.behavior()
	}
	asked := max(0, size+int32(pick(c, -100, -30, -9, -5, -3, -2, -1, 0, 1, 2, 3, 5, 9, 30, 100, 1000)))
	spec := object{"type": "External", "external": object{"metric": object{"name": "m"}, "target": target_("AverageValue", "averageValue", "1")}}
	seen.Spec["metrics"] = []object{spec}
	value := milli(asked) * 1000
	if c.percent(3) {
		value = pick[milli](c, math.MaxInt64, math.MaxInt64/2, 2147483647000, 2147483648000)
	}
	seen.Observations = []observation{{Total: &total{[]milli{value}}}}
	if c.percent(3) {
		seen.Observations[0].Total.Values = append(seen.Observations[0].Total.Values, math.MaxInt64, -5000)
	}
	if c.percent(3) {
		seen.Observations = []observation{{Missing: &missing{"Unreachable"}}}
	}
	made := c.decide(pairs, name, pick(c, 0, 0, 0, 1, 2), seen)
	// The same in all of them; the reader puts it back.
	delete(made.Snapshot.Spec, "metrics")
	return made
}

// run is what the controller does over some time, with what it remembers.
func (c chance) run(pairs []pair, name string) run {
	made := run{Case: name, Spec: object{"maxReplicas": pick(c, 12, 40, 60), "minReplicas": pick(c, 1, 1, 2, 3)}}
	if c.percent(75) {
		made.Spec["behavior"] = c.behavior()
	}
	if c.percent(25) {
		// One direction looks back further than the other one: what that one has written over counts no more.
		far := object{"policies": []object{{"type": "Pods", "value": 6, "periodSeconds": pick(c, 300, 1800)}}, "stabilizationWindowSeconds": 0}
		near := object{"policies": []object{{"type": "Pods", "value": 5, "periodSeconds": pick(c, 15, 60)}}, "stabilizationWindowSeconds": 0}
		made.Spec["behavior"] = object{"scaleUp": far, "scaleDown": near}
		if c.percent(50) {
			made.Spec["behavior"] = object{"scaleUp": near, "scaleDown": far}
		}
	}
	specs := []source{}
	for index := range pick(c, 1, 1, 2) {
		specs = append(specs, c.source(index, "Object", "External"))
		specs[index].value, specs[index].average = 0, 1000
		for _, field := range []string{"object", "external"} {
			if inner, is := specs[index].spec[field].(object); is {
				inner["target"] = target_("AverageValue", "averageValue", "1")
			}
		}
	}
	made.Spec["metrics"] = []object{specs[0].spec}
	if len(specs) > 1 {
		made.Spec["metrics"] = []object{specs[0].spec, specs[1].spec}
	}
	set := pick(c, 0, 0, 1)
	made.Options = sets[set]
	size, load := int32(1+c.Intn(10)), 5+c.Float64()*10
	pause := pick(c, 15, 15, 5, 60)
	for range 24 {
		c.now = time.Now().UTC()
		load = max(0, load*pick(c, 1, 1, 1, 0.9, 0.5, 1.1, 1.3, 2)+pick[float64](c, 0, 0, 0, 1, -1, 4))
		if load > 60 {
			load = 10
		}
		if c.percent(4) {
			size = pick[int32](c, 0, 1, 5, 60)
		} else if size == 0 {
			size = 4
		}
		now := tick{Now: c.now, Target: target{size, max(0, size+pick[int32](c, 0, 0, 0, 1, -1))}}
		for range specs {
			one := observation{Total: &total{[]milli{milli(load * 1000 * pick(c, 1, 1, 0.4))}}}
			if c.percent(6) {
				one = observation{Missing: &missing{"ServerError"}}
			}
			now.Observations = append(now.Observations, one)
		}
		hpa := autoscaler(name, made.Spec)
		now.HPA = judge(pairs[set].working, pairs[set].second, hpa, seenBy(hpa, now.Target, nil, now.Observations))
		if now.HPA.Desired != nil {
			size = *now.HPA.Desired
		}
		// What a metric asks for is the other files' subject.
		now.HPA.Metrics = nil
		made.Ticks = append(made.Ticks, now)
		time.Sleep(time.Duration(pick(c, pause, pause, pause, pause, 1, 299, 300, 301)) * time.Second)
	}
	return made
}

// What does not fit into the controller's numbers, where it does not look: it comes out as another number.
var wrapped = []func(c chance, seen *snapshot){
	func(c chance, seen *snapshot) { seen.sized("Pods", 3_000_000_000_000) },
	func(c chance, seen *snapshot) { seen.sized("Resource", 3_000_000_000_000) },
	func(c chance, seen *snapshot) { seen.sized("Pods", math.MaxInt64/2) },
	func(c chance, seen *snapshot) {
		seen.sized("Resource", math.MaxInt64/50)
		seen.Spec["metrics"].([]object)[0]["resource"].(object)["target"] = target_("Utilization", "averageUtilization", 50)
	},
	func(c chance, seen *snapshot) {
		seen.sized("Resource", 3_000_000_000)
		seen.Spec["metrics"].([]object)[0]["resource"].(object)["target"] = target_("Utilization", "averageUtilization", 50)
	},
	func(c chance, seen *snapshot) {
		inner := object{"metric": object{"name": "m"}, "describedObject": object{"kind": "Ingress", "name": "web"}, "target": target_("AverageValue", "averageValue", "1m")}
		seen.Spec["metrics"] = []object{{"type": "Object", "object": inner}}
		seen.Observations = []observation{{Total: &total{[]milli{3_000_000_000_000}}}}
	},
	func(c chance, seen *snapshot) { seen.policed("Pods", math.MaxInt32) },
	func(c chance, seen *snapshot) { seen.policed("Percent", math.MaxInt32) },
}

func (s *snapshot) sized(kind string, value milli) {
	inner, field := object{"metric": object{"name": "m"}, "target": target_("AverageValue", "averageValue", "1m")}, "pods"
	if kind == "Resource" {
		inner, field = object{"name": "cpu", "target": target_("AverageValue", "averageValue", "1m")}, "resource"
	}
	s.Spec["metrics"] = []object{{"type": kind, field: inner}}
	samples := map[string]sample{}
	for _, one := range s.Pods {
		samples[one.Name] = sample{value, one.StartedAt.Add(10 * time.Minute), 15}
	}
	s.Observations = []observation{{Pods: samples}}
}

func (s *snapshot) policed(kind string, value int) {
	inner := object{"metric": object{"name": "m"}, "target": target_("AverageValue", "averageValue", "1")}
	s.Spec["metrics"] = []object{{"type": "External", "external": inner}}
	s.Spec["behavior"] = object{"scaleUp": object{"policies": []object{{"type": kind, "value": value, "periodSeconds": 60}}}}
	s.Target = target{200, 200}
	s.Observations = []observation{{Total: &total{[]milli{500_000}}}}
}

func (c chance) oneWrapped(pairs []pair, name string) line {
	seen := snapshot{Spec: object{"maxReplicas": 1000, "minReplicas": 1, "behavior": object{"scaleDown": object{"stabilizationWindowSeconds": 0}}}}
	is, started := true, c.now.Add(-20*time.Minute)
	for index := range 3 {
		requests := []container{{Name: "a", Requests: map[string]milli{"cpu": 100}}}
		seen.Pods = append(seen.Pods, pod{Name: fmt.Sprintf("p%d", index), StartedAt: &started, Ready: &readiness{&is, started}, Containers: requests})
	}
	seen.Target = target{3, 3}
	var number int
	fmt.Sscanf(name, "wrapped-%d", &number)
	wrapped[number](c, &seen)
	return c.decide(pairs, name, 0, seen)
}
