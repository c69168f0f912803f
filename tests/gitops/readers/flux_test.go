package readers

import (
	"testing"

	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// Flux, Helm and kpt read the conditions themselves: nothing has to be configured.
func TestFluxReadsEveryState(t *testing.T) {
	seen := map[status.Status]int{}
	for _, one := range kept(t) {
		result, err := status.Compute(one.object())
		if err != nil {
			t.Errorf("%s: %v", one.Name, err)
			continue
		}
		expected := status.InProgressStatus
		ready, _, _ := one.condition("Ready")
		stalled, _, _ := one.condition("Stalled")
		switch {
		case !one.rollout():
			// It has no status: what runs on a database is told by its Rollouts.
			expected = status.CurrentStatus
		case !one.fresh():
		case stalled == "True":
			expected = status.FailedStatus
		case ready == "True":
			expected = status.CurrentStatus
		}
		if result.Status != expected {
			t.Errorf("%s: kstatus says %s (%s), not %s", one.Name, result.Status, result.Message, expected)
		}
		seen[result.Status]++
	}
	for _, needed := range []status.Status{status.InProgressStatus, status.FailedStatus, status.CurrentStatus} {
		if seen[needed] == 0 {
			t.Errorf("no state was %s: %v", needed, seen)
		}
	}
}
