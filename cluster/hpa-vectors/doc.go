// Package vectors asks Kubernetes' own HorizontalPodAutoscaler, of the version that go.mod pins, what it does in many cases, and
// writes its answers where the tests of crates/scale read them:
//
//	go test ./hpa-vectors -update
//
// Without -update the answers are compared with those that are there. The clock is faked, the cases are random with a fixed seed.
// What asks the metrics APIs is not part of this: the answers of those are made up here.
//
// Numbers that do not fit into 32 bits are what the processor makes of them: the file wrapped.jsonl is amd64's.
package vectors
