package bench

import (
	"slices"
	"testing"
	"time"

	"runnerd/infra/release/api"
)

const (
	warmPerRound = 10
	// jobInterval respects the Go SDK's own limit: five requests per second and container.
	jobInterval = 250 * time.Millisecond
	// minInputBytes is less than a Secret with a job, and more than anything else that is sent between offer and result.
	minInputBytes = 500
)

// samples has durations by what was measured.
type samples map[string][]time.Duration

func (s samples) add(what string, d time.Duration) { s[what] = append(s[what], d) }

// quantile returns a quantile in ms.
func (s samples) quantile(what string, quantile float64) float64 {
	sorted := slices.Sorted(slices.Values(s[what]))
	return float64(sorted[int(quantile*float64(len(sorted)-1))]) / float64(time.Millisecond)
}

// BenchmarkJob runs the same job in each way, in turn.
func BenchmarkJob(b *testing.B) {
	h := newHarness(b)
	warm := newEnv(b, h, api.Config{Revision: 1, Enabled: true, Capacity: 1, EvictionSeconds: 3600})
	cold := newEnv(b, h, api.Config{Revision: 1, Enabled: true, Capacity: 1})
	warm.runJob(h.image) // starts the executor
	run, bare := h.dockerRun(), h.newBare(warm, cold)
	results := samples{}
	tick := time.NewTicker(jobInterval)
	defer tick.Stop()
	for range b.N {
		results.add("docker-run", run.once())
		results.add("bare", bare.once())
		cold.measureCold(h.image, results)
		h.awaitNoExecutors(cold)
		for range warmPerRound {
			<-tick.C
			warm.measureWarm(h.image, results)
		}
	}
	report(b, results)
}

func report(b *testing.B, results samples) {
	for what := range results {
		b.ReportMetric(results.quantile(what, .5), what+"-p50-ms")
	}
	for _, what := range []string{"warm", "overhead", "to-input", "to-finish"} {
		b.ReportMetric(results.quantile(what, .99), what+"-p99-ms")
	}
	b.ReportMetric(results.quantile("docker-run", .5)/results.quantile("warm", .5), "docker-run/warm")
	b.ReportMetric(results.quantile("cold-start", .5)/results.quantile("bare", .5), "cold-start/bare")
	b.ReportMetric(0, "ns/op")
}

// measureCold runs one job whose container has to be started.
func (s *env) measureCold(image string, results samples) {
	submitted, at, seen := s.runJob(image)
	connected := firstPacket(s.b, "the plugin's first packet", seen, func(p packet) bool { return p.opens && p.to == s.gateway.Secrets })
	results.add("cold", at.finished.Sub(submitted))
	results.add("cold-start", connected.Sub(at.confirmed))
}

// measureWarm runs one job in the idle executor.
func (s *env) measureWarm(image string, results samples) {
	submitted, at, seen := s.runJob(image)
	input := firstPacket(s.b, "the input", seen, func(p packet) bool {
		return p.from == s.gateway.Secrets && p.bytes >= minInputBytes && p.at.After(at.offered)
	})
	result := firstPacket(s.b, "the callback", seen, func(p packet) bool {
		return p.to == s.gateway.Callbacks && p.bytes > 0 && p.at.After(input)
	})
	before, after := input.Sub(at.offered), at.finishing.Sub(result)
	results.add("warm", at.finished.Sub(submitted))
	results.add("to-input", before)
	results.add("plugin", result.Sub(input))
	results.add("to-finish", after)
	results.add("overhead", before+after)
}
