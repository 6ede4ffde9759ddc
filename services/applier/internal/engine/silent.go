package engine

import (
	"fmt"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// joinTried joins the errors of objects. Where the cluster was silent it has one that got no answer and counts the others, and
// those that were not tried, or not to the end: their names tell nothing, and differ from attempt to attempt.
func joinTried(errs []error, silent error) error {
	if silent == nil {
		return join(errs)
	}
	var tried []error
	left, told := 0, false
	for _, err := range errs {
		late := cluster.TimedOut(err)
		if late && told || cluster.Untried(err) {
			left++
			continue
		}
		told = told || late
		tried = append(tried, err)
	}
	if left > 0 {
		tried = append(tried, fmt.Errorf("%d other objects got no answer, or were not tried: %w", left, cluster.ErrSilent))
	}
	return join(tried)
}
