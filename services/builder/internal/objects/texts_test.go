package objects

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/services/builder/internal/helm"
)

// valuesKey is what a reference means that names no key.
const valuesKey = "values.yaml"

// store has any ConfigMap, with the same text, and counts how often one is read.
type store struct {
	client.Reader
	text  string
	reads int
}

func (s *store) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	s.reads++
	into.(*corev1.ConfigMap).Data = map[string]string{valuesKey: s.text}
	return nil
}

// TestTexts reads each ConfigMap once, however often an object names it, and no more of them than one object may have.
func TestTexts(t *testing.T) {
	text := strings.Repeat("x", 1<<20-len(valuesKey))
	const helps = "with it, the ConfigMaps and Secrets referred to have more than 8388608 bytes: refer to fewer or to smaller ones"
	for _, tt := range []struct {
		why                  string
		references, distinct int
		reads                int
		fails                bool
	}{
		{"one that a thousand references name", 1000, 1, 1, false},
		{"as many as there may be", 8, 8, 8, false},
		{"one more", 9, 9, 9, true},
		{"far more", 1000, 1000, 9, true},
	} {
		hr, ks := &helmv2.HelmRelease{}, &kustomizev1.Kustomization{}
		ks.Spec.PostBuild = &kustomizev1.PostBuild{}
		for i := range tt.references {
			name := fmt.Sprintf("a%d", i%tt.distinct)
			hr.Spec.ValuesFrom = append(hr.Spec.ValuesFrom, helmv2.ValuesReference{Kind: "ConfigMap", Name: name, TargetPath: "a"})
			ks.Spec.PostBuild.SubstituteFrom = append(ks.Spec.PostBuild.SubstituteFrom, kustomizev1.SubstituteReference{Kind: "ConfigMap", Name: name})
		}
		of := &store{text: text}
		values, err := Reader{Live: of}.Values(t.Context(), hr)
		if (err != nil) != tt.fails || of.reads != tt.reads || !tt.fails && (len(values.From) != tt.references || len(values.Texts) != tt.distinct) {
			t.Errorf("values, %s: %d reads, %d references to %d texts, error %v", tt.why, of.reads, len(values.From), len(values.Texts), err)
		}
		if want := "chart values reference '/a8' with key 'values.yaml': not usable: " + helps; tt.fails && (!errors.Is(err, helm.ErrValues) || !strings.Contains(err.Error(), want)) {
			t.Errorf("values, %s: error %v, want %s", tt.why, err, want)
		}
		of = &store{text: text}
		variables, err := Reader{Live: of}.Variables(t.Context(), ks)
		if (err != nil) != tt.fails || of.reads != tt.reads || !tt.fails && len(variables) != tt.references+1 {
			t.Errorf("variables, %s: %d reads, %d maps, error %v", tt.why, of.reads, len(variables), err)
		}
		if want := "substitute from 'ConfigMap/a8' error: not usable: " + helps; tt.fails && (!errors.Is(err, ErrVariables) || !strings.Contains(err.Error(), want)) {
			t.Errorf("variables, %s: error %v, want %s", tt.why, err, want)
		}
	}
}
