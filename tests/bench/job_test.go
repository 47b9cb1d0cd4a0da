package bench

import (
	"slices"
	"testing"
	"time"

	"runnerd/infra/release/api"
)

const (
	warmPerRound = 10
	// pace keeps below what the Go SDK allows itself: five requests a second and container.
	pace = 250 * time.Millisecond
	// leastInput is less than a Secret with a job in it, and more than anything else that leaves between offer and result.
	leastInput = 500
)

// samples are durations by what they are of.
type samples map[string][]time.Duration

func (s samples) add(what string, d time.Duration) { s[what] = append(s[what], d) }

// of is a quantile, in milliseconds.
func (s samples) of(what string, quantile float64) float64 {
	sorted := slices.Sorted(slices.Values(s[what]))
	return float64(sorted[int(quantile*float64(len(sorted)-1))]) / float64(time.Millisecond)
}

// BenchmarkJob does the same job in all ways, side by side.
func BenchmarkJob(b *testing.B) {
	shop := openShop(b)
	warm := open(b, shop, api.Config{Revision: 1, Enabled: true, Capacity: 1, EvictionSeconds: 3600})
	cold := open(b, shop, api.Config{Revision: 1, Enabled: true, Capacity: 1})
	warm.job(shop.image) // now there is an executor
	run, bare := shop.dockerRun(), shop.bareLike(warm, cold)
	taken := samples{}
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for range b.N {
		taken.add("docker-run", run.once())
		taken.add("bare", bare.once())
		cold.cold(shop.image, taken)
		shop.alone(cold)
		for range warmPerRound {
			<-tick.C
			warm.warm(shop.image, taken)
		}
	}
	report(b, taken)
}

func report(b *testing.B, taken samples) {
	for what := range taken {
		b.ReportMetric(taken.of(what, .5), what+"-p50-ms")
	}
	for _, what := range []string{"warm", "overhead", "to-input", "to-finish"} {
		b.ReportMetric(taken.of(what, .99), what+"-p99-ms")
	}
	b.ReportMetric(taken.of("docker-run", .5)/taken.of("warm", .5), "docker-run/warm")
	b.ReportMetric(taken.of("cold-start", .5)/taken.of("bare", .5), "cold-start/bare")
	b.ReportMetric(0, "ns/op")
}

// cold does one job, for which a container has to be started.
func (s *site) cold(image string, taken samples) {
	submitted, at, seen := s.job(image)
	came := first(s.b, "the plugin's first packet", seen, func(p packet) bool { return p.opens && p.to == s.door.Secrets })
	taken.add("cold", at.finished.Sub(submitted))
	taken.add("cold-start", came.Sub(at.confirmed))
}

// warm does one job in the executor that waits for it.
func (s *site) warm(image string, taken samples) {
	submitted, at, seen := s.job(image)
	input := first(s.b, "the input", seen, func(p packet) bool {
		return p.from == s.door.Secrets && p.bytes >= leastInput && p.at.After(at.offered)
	})
	result := first(s.b, "the callback", seen, func(p packet) bool {
		return p.to == s.door.Callbacks && p.bytes > 0 && p.at.After(input)
	})
	before, after := input.Sub(at.offered), at.finishing.Sub(result)
	taken.add("warm", at.finished.Sub(submitted))
	taken.add("to-input", before)
	taken.add("plugin", result.Sub(input))
	taken.add("to-finish", after)
	taken.add("overhead", before+after)
}
