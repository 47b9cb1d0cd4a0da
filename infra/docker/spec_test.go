package docker

import (
	"testing"

	msg "runnerd/messages"
)

func TestCPUQuotaIsAlwaysLimited(t *testing.T) {
	d := &Driver{runner: "12345678-0000", limits: defaultLimits}
	for cpus, want := range map[float64]int64{0: 100_000, 0.5: 50_000, 64: 6_400_000, 1e-12: 1, 1e300: 100_000_000_000} {
		if got := d.hostConfig(msg.ExecutorSpec{Limits: msg.Limits{CPUs: cpus}}).CPUQuota; got != want {
			t.Errorf("%v cores: a quota of %d, want %d", cpus, got, want)
		}
	}
}
