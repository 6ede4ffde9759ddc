package fetcher_test

import (
	"strings"
	"testing"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/test/cloudtest"
)

// suspendAll suspends what other scenarios left: a fetcher that starts looks at all there is, some of
// it on servers that are gone, and shall have time for what is made next. It stays for who looks at
// what statuses say.
func (w *world) suspendAll() {
	w.t.Helper()
	suspend := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"suspend":true}}`))
	for _, list := range []client.ObjectList{
		&sourcev1.GitRepositoryList{}, &sourcev1.OCIRepositoryList{}, &sourcev1.HelmRepositoryList{}, &sourcev1.HelmChartList{}, &sourcev1.BucketList{},
	} {
		if err := w.client.List(w.t.Context(), list); err != nil {
			w.t.Fatal(err)
		}
		err := apimeta.EachListItem(list, func(o runtime.Object) error { return w.client.Patch(w.t.Context(), o.(client.Object), suspend) })
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// accountIdentities has a fetcher that refuses the identities of service accounts, and
// then one that has a default for objects that name none. The other fetcher ends for it.
func accountIdentities(t *testing.T, w *world, p *provided) {
	w.stop()
	w.suspendAll()
	b := &cloudtest.Bucket{}
	p.google.Buckets["gate"] = b
	b.Put(map[string]string{"a.yaml": "a: 1\n"})

	config := w.config
	config.ServiceAccountIdentities = false
	stop := w.start(config)
	defer func() { stop() }()
	const words = "to use spec.serviceAccountName for provider authentication please enable the ObjectLevelWorkloadIdentity feature gate"
	held := awaitObject(w, "a Bucket", w.createBucket("gate", googleCloud("gate", "", "team")), bucketFails("FetchFailed", "FeatureGateDisabled", words))
	artifact := awaitObject(w, "an OCIRepository", w.createOCI("gate", inCloud(p.gar, "gcp", "team")), ociFails("FetchFailed", "FeatureGateDisabled", words))
	w.create("gate", sourcev1.GitRepositorySpec{URL: "https://dev.azure.com/org/project/_git/gate", Provider: "azure", ServiceAccountName: "team"})
	repository := w.await("a GitRepository", "gate", broken("FetchFailed", "FeatureGateDisabled", words))
	for _, conditions := range [][]metav1.Condition{held.Status.Conditions, artifact.Status.Conditions, repository.Status.Conditions} {
		if !apimeta.IsStatusConditionTrue(conditions, "Stalled") {
			t.Errorf("not stalled: %+v", conditions)
		}
	}
	stop()

	config.ServiceAccountIdentities, config.DefaultServiceAccount = true, "team"
	stop = w.start(config)
	const machine = "GET metadata/computeMetadata/v1/instance/service-accounts/default/token"
	before := internet.Count(machine)
	awaitObject(w, "the identity of the default account", w.createBucket("default", googleCloud("gate", "", "")), bucketReady)
	if internet.Count(machine) != before {
		t.Error("the machine was asked for its identity")
	}
	if err := w.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}}); err != nil {
		t.Fatal(err)
	}
	other := &sourcev1.Bucket{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "default"}, Spec: googleCloud("gate", "", "")}
	other.Spec.Interval.Duration = time.Hour
	if err := w.client.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	awaitObject(w, "a namespace without the account", other, bucketFails("FetchFailed", "AuthenticationFailed", "failed to get service account 'other/team'"))

	// A Secret that names an identity of the machine would be a way around the default account.
	w.secret("gate-machine", map[string]string{"clientId": cloudtest.AzureClient})
	p.azure.Containers["gate"] = b
	refused := awaitObject(w, "an identity of the machine", w.createBucket("gate-machine", azureCloud("gate", "gate-machine", "")),
		bucketFails("FetchFailed", "InvalidProviderConfiguration", "is not served beside --default-source-service-account"))
	if !apimeta.IsStatusConditionTrue(refused.Status.Conditions, "Stalled") || refused.Status.Artifact != nil {
		t.Errorf("status is %+v", refused.Status)
	}

	config.ServiceAccountIdentities = false
	if err := config.Validate(); err == nil || !strings.Contains(err.Error(), "object-level-workload-identity") {
		t.Errorf("a default account without the gate: %v", err)
	}
}
