package plan

import (
	"context"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/events"
)

func TestOrderPutsTheChangeFirst(t *testing.T) {
	items := []kustomizev1.Kustomization{
		item("infra"), item("backend", "infra"), item("frontend", "backend"), item("other"), item("loop", "loop"),
	}
	cases := []struct {
		why      string
		affected []string
		later    map[string]time.Duration
	}{
		{"nothing changed: all in the background", nil, map[string]time.Duration{
			"infra": background, "backend": background, "frontend": background, "other": background, "loop": background}},
		{"a change takes all it depends on along, which its apply waits for", []string{"frontend"}, map[string]time.Duration{
			"infra": 0, "backend": 0, "frontend": 0, "other": background, "loop": background}},
		{"a dependency on itself ends", []string{"loop"}, map[string]time.Duration{
			"infra": background, "backend": background, "frontend": background, "other": background, "loop": 0}},
	}
	for _, c := range cases {
		t.Run(c.why, func(t *testing.T) {
			p := &Planner{Affected: func(context.Context, events.SourceChanged, []events.Key) map[events.Key]bool {
				set := map[events.Key]bool{}
				for _, name := range c.affected {
					set[events.NewKey("Kustomization", "apps", name)] = true
				}
				return set
			}}
			got := map[string]time.Duration{}
			for _, target := range p.ordered(t.Context(), events.SourceChanged{}, items) {
				got[target.Key.Name] = target.After
			}
			if diff := cmp.Diff(c.later, got); diff != "" {
				t.Errorf("delays (-want +got):\n%s", diff)
			}
		})
	}
}

func item(name string, dependsOn ...string) kustomizev1.Kustomization {
	ks := kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: name}}
	for _, d := range dependsOn {
		ks.Spec.DependsOn = append(ks.Spec.DependsOn, kustomizev1.DependencyReference{Name: d})
	}
	return ks
}
