package applier_test

import (
	"slices"
	"testing"
)

// TestApplier runs every case beside one applier on one control plane. Each case
// has a namespace of its own.
func TestApplier(t *testing.T) {
	w := newWorld(t)
	t.Run("alone", func(t *testing.T) {
		for _, c := range slices.Concat(aloneCases(), leftAloneCases(), sourceAloneCases(), acceptAloneCases()) {
			t.Run(c.name, func(t *testing.T) { c.run(t, w) })
		}
	})
	for _, group := range []struct {
		name  string
		cases []testCase
	}{
		{"apply", applyCases()},
		{"source", sourceCases()},
		{"accept", acceptCases()},
		{"prune", pruneCases()},
		{"budget", budgetCases()},
		{"delete", deleteCases()},
		{"linger", lingerCases()},
		{"drift", driftCases()},
		{"ignore", ignoreCases()},
		{"report", reportCases()},
		{"fight", fightCases()},
		{"wait", waitCases()},
		{"depend", dependCases()},
		{"cel", celCases()},
		{"refuse", refuseCases()},
		{"account", accountCases()},
	} {
		for _, c := range group.cases {
			t.Run(group.name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t, w)
			})
		}
	}
}

type testCase struct {
	name   string
	reason string
	run    func(t *testing.T, w *world)
}
