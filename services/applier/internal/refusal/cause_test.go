package refusal_test

import (
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/services/applier/internal/refusal"
)

// An object may have any number of faults, each of which the API server tells: what is said of them costs no more than that.
func TestManyCauses(t *testing.T) {
	for _, tt := range []struct {
		why       string
		faults    int
		distinct  int
		more      string
		mostHides int
	}{
		{"a few that fit", 2, 2, "", 10},
		{"the same ones count once", 50, 2, "", 110},
		{"those that do not fit are counted", 90, 90, ", and 8", 200},
		{"of very many few are looked at", 100_000, 100_000, ", and 999", 250},
		{"of very many of which the first are the same, too", 100_000, 1, ", and 99900 more", 250},
	} {
		details := &metav1.StatusDetails{Kind: "ConfigMap", Name: "one"}
		for n := range tt.faults {
			details.Causes = append(details.Causes, metav1.StatusCause{
				Field: fmt.Sprintf("data[!%d]", n%tt.distinct), Message: "Invalid value: a valid config key must consist of alphanumeric characters",
			})
		}
		err := &apierrors.StatusError{ErrStatus: metav1.Status{
			Reason: metav1.StatusReasonInvalid, Code: 422, Message: `ConfigMap "one" is invalid: all of it`, Details: details,
		}}
		hides := 0
		got := refusal.Cause(err, func(text string) string { hides++; return text })
		if len(got) > 350 || !strings.HasPrefix(got, `ConfigMap "one" is invalid: data[!0]: Invalid value`) || tt.more == "" && strings.Contains(got, "more") || !strings.Contains(got, tt.more) {
			t.Errorf("%s: %s", tt.why, got)
		}
		if hides > tt.mostHides {
			t.Errorf("%s: %d texts were looked at", tt.why, hides)
		}
	}
}
