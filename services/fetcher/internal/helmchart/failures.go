package helmchart

import (
	"errors"
	"fmt"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// cause is one of the ways in which a chart cannot be made: the condition that tells
// it, its reason, and the first words of its message.
type cause struct {
	condition, reason, words string
	// stalls until the object or its source changes.
	stalls bool
}

var (
	badReference = cause{sourcev1.FetchFailedCondition, "InvalidChartReference", "invalid chart reference", true}
	pullFailed   = cause{sourcev1.FetchFailedCondition, "ChartPullError", "chart pull error", false}
	badVersion   = cause{sourcev1.BuildFailedCondition, "MetadataPatchError", "chart metadata patch error", true}
	badValues    = cause{sourcev1.BuildFailedCondition, "ValuesFilesError", "values files merge error", true}
	unverified   = cause{sourcev1.BuildFailedCondition, "ChartVerificationError", "chart verification error", false}
	dependency   = cause{sourcev1.BuildFailedCondition, "DependencyBuildError", "dependency build error", false}
)

// of returns the failure with its error. One that says already what it is stays.
func (c cause) of(err error) error {
	var known *source.Error
	if errors.As(err, &known) {
		return err
	}
	failure := source.FetchFailed(c.reason, fmt.Errorf("%s: %w", c.words, err))
	failure.Condition, failure.Stalled = c.condition, c.stalls
	return failure
}
