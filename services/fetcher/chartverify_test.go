package fetcher_test

import (
	"testing"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const unsigned = "chart verification error: failed to verify the signature using provider 'cosign': no matching signatures"

func signedBy(secret string) *sourcev1.HelmChartVerification {
	return &sourcev1.HelmChartVerification{Provider: "cosign", SecretRef: local(secret)}
}

// chartVerifiedLater asks for a signature while its repository can have none. The package
// from before must not do for it when the repository becomes one of type oci.
func chartVerifiedLater(t *testing.T, w *world) {
	r := newRegistry(t, false, nil)
	_, digest := r.pushChart(t, "charts", "app", "1.0.0")
	key := newSigner(t)
	w.secret("later-key", map[string]string{"key.pub": key.public(t)})
	repository := w.createRepository("later", sourcev1.HelmRepositorySpec{URL: chartRepository(t, "app@1.0.0").URL})
	obj := awaitObject(w, "the chart", w.createChart("later", inRepository("app", "1.0.0", "later")), chartAt("1.0.0"))
	obj.Spec.Verify = signedBy("later-key")
	if err := w.client.Update(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	awaitObject(w, "the stall", obj, chartFails("FetchFailed", "InvalidChartReference", "spec.verify works with HelmRepositories of type oci only: remove it from the HelmChart"))
	awaitObject(w, "the index", repository, func(o *sourcev1.HelmRepository) bool { return o.Status.Artifact != nil })
	repository.Spec = ociCharts(r, "")
	if err := w.client.Update(t.Context(), repository); err != nil {
		t.Fatal(err)
	}
	w.ask(obj, "1")
	awaitObject(w, "the refusal", obj, chartFails("BuildFailed", "ChartVerificationError", unsigned))
	key.byTag(t, r, "charts/app", digest, digest)
	w.ask(obj, "2")
	awaitObject(w, "the signed chart", obj, func(o *sourcev1.HelmChart) bool {
		return chartAt("1.0.0")(o) && apimeta.IsStatusConditionTrue(o.Status.Conditions, sourcev1.SourceVerifiedCondition)
	})
}

// chartVerifiedAgain trusts another key from some pass on.
func chartVerifiedAgain(t *testing.T, w *world) {
	r := newRegistry(t, false, nil)
	_, digest := r.pushChart(t, "charts", "app", "1.0.0")
	key, other := newSigner(t), newSigner(t)
	key.byTag(t, r, "charts/app", digest, digest)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "again-key"}, StringData: map[string]string{"key.pub": key.public(t)}}
	if err := w.client.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.createRepository("again", ociCharts(r, ""))
	spec := inRepository("app", "1.0.0", "again")
	spec.Verify = signedBy("again-key")
	obj := awaitObject(w, "the signed chart", w.createChart("again", spec), chartAt("1.0.0"))
	secret.StringData = map[string]string{"key.pub": other.public(t)}
	if err := w.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.ask(obj, "1")
	awaitObject(w, "the refusal", obj, chartFails("BuildFailed", "ChartVerificationError", unsigned))
	if obj.Status.Artifact == nil || obj.Status.Artifact.Revision != "1.0.0" {
		t.Errorf("the last good artifact is %+v", obj.Status.Artifact)
	}
}
