package generator

import (
	"testing"

	generatorv1 "github.com/fluxcd/source-watcher/api/v2/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A source of another namespace is refused when the operator says so, before it is read.
func TestSourcesOfOtherNamespaces(t *testing.T) {
	for name, c := range map[string]struct {
		refuse    bool
		namespace string
		want      string
	}{
		"allowed":              {false, "theirs", ""},
		"refused":              {true, "theirs", "can't access 'GitRepository/theirs/repo', cross-namespace references have been blocked"},
		"the same, by name":    {true, "ours", ""},
		"the same, by default": {true, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := &generatorv1.ArtifactGenerator{
				ObjectMeta: metav1.ObjectMeta{Namespace: "ours"},
				Spec: generatorv1.ArtifactGeneratorSpec{Sources: []generatorv1.SourceReference{
					{Alias: "repo", Kind: "GitRepository", Name: "repo", Namespace: c.namespace},
				}},
			}
			err := New(Config{NoCrossNamespaceRefs: c.refuse}).check(o)
			if c.want == "" && err == nil {
				return
			}
			if f := failureOf(err, ""); err == nil || err.Error() != c.want || f.reason != "AccessDenied" || !f.stalled {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
