package helmchart

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartrepo"
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
	reason := c.reason
	if c == pullFailed && unknown(err) {
		reason = sourcev1.AuthenticationFailedReason
	}
	failure := source.FetchFailed(reason, fmt.Errorf("%s: %w", c.words, err))
	failure.Condition, failure.Stalled = c.condition, c.stalls
	return failure
}

// unknown says that a server does not know who asks (HTTP 401), or that one of the two does not trust the other's certificate.
func unknown(err error) bool {
	var page *chartrepo.StatusError
	var refusal *transport.Error
	if errors.As(err, &page) {
		return page.Code == http.StatusUnauthorized
	}
	if errors.As(err, &refusal) && (refusal.StatusCode == http.StatusUnauthorized || slices.ContainsFunc(refusal.Errors, func(d transport.Diagnostic) bool {
		return d.Code == transport.UnauthorizedErrorCode
	})) {
		return true
	}
	// What the other side says when it refuses a certificate has no type.
	return strings.Contains(err.Error(), "tls: ") || strings.Contains(err.Error(), "x509: ")
}
