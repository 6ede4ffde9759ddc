package engine

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

func TestTrialName(t *testing.T) {
	for reason, name := range map[string]string{
		"a short name":                     "app",
		"a name that is cut":               strings.Repeat("a", 63),
		"a name that is cut behind a dot":  strings.Repeat("a", 49) + "." + strings.Repeat("b", 12),
		"a name that is cut behind a dash": strings.Repeat("a", 49) + "-b",
		"the longest name":                 strings.Repeat(strings.Repeat("a", 49)+".", 5) + "abc",
	} {
		got := trialName(name)
		if problems := validation.IsDNS1123Subdomain(got); len(problems) > 0 || got == name {
			t.Errorf("%s: %q is no name for a trial: %v", reason, got, problems)
		}
	}
}
