package fetcher_test

import (
	"strings"
	"testing"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

// accepted are the end-to-end cases of Flux's source-controller, with servers of our own.
func accepted(t *testing.T, w *world) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *world)
	}{
		{"samples", samples},
		{"helmchart-valuesfile", chartsWithValuesFiles},
		{"helmchart-from-oci", chartsFromOCI},
		{"ocirepository signed", signedBeforeSecrets},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, w.in(t)) })
	}
}

// samples are one of each kind: all but the Bucket, whose server cannot be reached, become ready.
func samples(t *testing.T, w *world) {
	repo := gittest.NewRepo(t, w.root, "podinfo")
	sha := repo.Commit("master", "first", under("charts/podinfo", chartFiles("podinfo", "6.5.0"), map[string]string{"kustomize/deployment.yaml": "a: 1\n"}))
	registry := newRegistry(t, false, nil)
	digest := registry.push(t, "stefanprodan/manifests/podinfo", "6.1.6", nil, layer{fluxLayer, tarred(t, map[string]string{"a.yaml": "a"}), nil})
	for _, version := range []string{"5.2.0", "6.1.0", "6.5.0", "7.0.0"} {
		registry.pushChart(t, "stefanprodan/charts", "podinfo", version)
	}
	charts := chartRepository(t, "podinfo@5.2.0", "podinfo@6.5.0", "podinfo@7.0.0")
	w.create("podinfo", sourcev1.GitRepositorySpec{URL: w.http.URL + "/podinfo", Reference: branch("master")})
	oci := w.createOCI("podinfo", sourcev1.OCIRepositorySpec{
		URL: "oci://" + registry.host + "/stefanprodan/manifests/podinfo", Reference: &sourcev1.OCIRepositoryRef{Tag: "6.1.6"},
	})
	repository := w.createRepository("podinfo", sourcev1.HelmRepositorySpec{URL: charts.URL})
	w.createRepository("podinfo-oci", sourcev1.HelmRepositorySpec{URL: "oci://" + registry.host + "/", Type: sourcev1.HelmRepositoryTypeOCI})
	fromIndex := inRepository("podinfo", "6.x", "podinfo")
	fromIndex.IgnoreMissingValuesFiles = true
	byIndex := w.createChart("podinfo", fromIndex)
	byRegistry := w.createChart("podinfo-oci", inRepository("stefanprodan/charts/podinfo", ">=6.0.0 <7.0.0", "podinfo-oci"))
	byGit := w.createChart("podinfo-git", inGit("charts/podinfo", "podinfo"))
	bucket := w.createBucket("podinfo", sourcev1.BucketSpec{BucketName: "podinfo", Endpoint: freeAddress(t), Insecure: true})

	w.await("the GitRepository", "podinfo", at("master@sha1:"+sha))
	awaitObject(w, "the OCIRepository", oci, ociAt("6.1.6@"+digest))
	awaitObject(w, "the HelmRepository", repository, repositoryReady)
	for _, chart := range []*sourcev1.HelmChart{byIndex, byRegistry, byGit} {
		awaitObject(w, "the HelmChart "+chart.Name, chart, chartAt("6.5.0"))
	}
	awaitObject(w, "the Bucket", bucket, bucketFails("FetchFailed", "BucketOperationFailed", "connection refused"))
}

func chartsWithValuesFiles(t *testing.T, w *world) {
	charts := chartRepository(t, "podinfo@5.2.0")
	w.createRepository("valuesfile", sourcev1.HelmRepositorySpec{URL: charts.URL})
	fromIndex := inRepository("podinfo", "*", "valuesfile")
	fromIndex.ValuesFiles = []string{"values-prod.yaml"}

	repo := gittest.NewRepo(t, w.root, "valuesfile")
	repo.Commit("v5.x", "first", under("charts/podinfo", chartFiles("podinfo", "5.2.0"), map[string]string{"kustomize/deployment.yaml": "a: 1\n"}))
	ignore := "/*\n!/charts/\n"
	w.create("valuesfile", sourcev1.GitRepositorySpec{URL: w.http.URL + "/valuesfile", Reference: branch("v5.x"), Ignore: &ignore})
	fromGit := inGit("charts/podinfo", "valuesfile")
	fromGit.ValuesFiles = []string{"charts/podinfo/values-prod.yaml"}

	for name, spec := range map[string]sourcev1.HelmChartSpec{"valuesfile": fromIndex, "valuesfile-git": fromGit} {
		obj := awaitObject(w, name, w.createChart(name, spec), chartAt("5.2.0+1"))
		if loaded, _ := w.load(obj.Status.Artifact); loaded.Values["replicas"] != 3.0 {
			t.Errorf("%s: values are %v", name, loaded.Values)
		}
	}
	if got := w.content(w.await("the source", "valuesfile", ready).Status.Artifact); got["kustomize/deployment.yaml"] != "" || got["charts/podinfo/Chart.yaml"] == "" {
		t.Errorf("the source has %v", got)
	}
}

func chartsFromOCI(t *testing.T, w *world) {
	registry := newRegistry(t, false, nil)
	digests := map[string]string{}
	for _, version := range []string{"6.1.0", "6.1.8", "6.2.1", "6.9.4", "6.6.0"} {
		_, digests[version] = registry.pushChart(t, "stefanprodan/charts", "podinfo", version)
	}
	const path = "stefanprodan/charts/podinfo"
	w.sigstore.byTag(t, registry, path, digests["6.2.1"], robot)
	w.sigstore.byBundle(t, registry, path, digests["6.9.4"], digests["6.9.4"], robot)
	notary := newNotary(t)
	notary.sign(t, registry, path, digests["6.6.0"])
	w.secret("chart-notation", map[string]string{"ours.crt": notary.root, "trustpolicy.json": trustPolicy("strict", "*")})
	w.createRepository("podinfo-signed", sourcev1.HelmRepositorySpec{URL: "oci://" + registry.host + "/stefanprodan/charts", Type: sourcev1.HelmRepositoryTypeOCI})
	us := []sourcev1.OIDCIdentityMatch{{Issuer: "^https://issuer\\.example\\.com$", Subject: "^robot@.*$"}}
	somebody := []sourcev1.OIDCIdentityMatch{{Issuer: "^https://issuer\\.example\\.com$", Subject: "^human@.*$"}}
	keyless := func(identities []sourcev1.OIDCIdentityMatch) *sourcev1.HelmChartVerification {
		return &sourcev1.HelmChartVerification{Provider: "cosign", MatchOIDCIdentity: identities}
	}
	notation := &sourcev1.HelmChartVerification{Provider: "notation", SecretRef: local("chart-notation")}
	spec := func(version string, verify *sourcev1.HelmChartVerification) sourcev1.HelmChartSpec {
		s := inRepository("podinfo", version, "podinfo-signed")
		s.Verify = verify
		return s
	}
	for name, c := range map[string]struct {
		spec sourcev1.HelmChartSpec
		want string
	}{
		"range":        {spec("6.1.*", nil), "6.1.8"},
		"keyless":      {spec("6.2.1", keyless(nil)), "6.2.1"},
		"identities":   {spec("6.9.4", keyless(us)), "6.9.4"},
		"notation":     {spec("6.6.0", notation), "6.6.0"},
		"newest-range": {spec(">=6.2.1 <6.3.0", keyless(us)), "6.2.1"},
	} {
		obj := awaitObject(w, name, w.createChart("from-oci-"+name, c.spec), chartAt(c.want))
		if apimeta.IsStatusConditionTrue(obj.Status.Conditions, "SourceVerified") != (c.spec.Verify != nil) {
			t.Errorf("%s: conditions are %+v", name, obj.Status.Conditions)
		}
	}
	for name, c := range map[string]struct {
		spec sourcev1.HelmChartSpec
		text string
	}{
		"unsigned":         {spec("6.1.0", keyless(nil)), "failed to verify the signature using provider 'cosign keyless': no matching signatures"},
		"another-identity": {spec("6.9.4", keyless(somebody)), "failed to verify the signature using provider 'cosign keyless': no matching signatures"},
		"not-by-notation":  {spec("6.1.8", notation), "failed to verify the signature using provider 'notation': no signature is associated with"},
	} {
		obj := awaitObject(w, name, w.createChart("from-oci-"+name, c.spec), chartFails("BuildFailed", "ChartVerificationError", c.text))
		if !apimeta.IsStatusConditionFalse(obj.Status.Conditions, "SourceVerified") || obj.Status.Artifact != nil {
			t.Errorf("%s: status is %+v", name, obj.Status)
		}
	}
}

// signedBeforeSecrets verifies by Secrets that are made after the objects.
func signedBeforeSecrets(t *testing.T, w *world) {
	registry := newRegistry(t, false, nil)
	key, notary := newSigner(t), newNotary(t)
	us := []sourcev1.OIDCIdentityMatch{{Issuer: "^https://issuer\\.example\\.com$", Subject: "^robot@.*$"}}
	cases := map[string]struct {
		sign   func(path, digest string)
		verify sourcev1.OCIRepositoryVerification
		secret map[string]string
	}{
		"cosign-v2-key": {
			func(path, digest string) { key.byTag(t, registry, path, digest, digest) },
			sourcev1.OCIRepositoryVerification{Provider: "cosign"}, map[string]string{"key.pub": key.public(t)},
		},
		"cosign-v3-key": {
			func(path, digest string) { key.byBundle(t, registry, path, digest, digest) },
			sourcev1.OCIRepositoryVerification{Provider: "cosign"}, map[string]string{"key.pub": key.public(t)},
		},
		"cosign-v2-keyless": {
			func(path, digest string) { w.sigstore.byTag(t, registry, path, digest, robot) },
			sourcev1.OCIRepositoryVerification{Provider: "cosign"}, nil,
		},
		"cosign-v3-keyless": {
			func(path, digest string) { w.sigstore.byBundle(t, registry, path, digest, digest, robot) },
			sourcev1.OCIRepositoryVerification{Provider: "cosign", MatchOIDCIdentity: us}, nil,
		},
		"notation": {
			func(path, digest string) { notary.sign(t, registry, path, digest) },
			sourcev1.OCIRepositoryVerification{Provider: "notation"},
			map[string]string{"ours.crt": notary.root, "trustpolicy.json": trustPolicy("strict", "*")},
		},
	}
	revisions, objects := map[string]string{}, map[string]*sourcev1.OCIRepository{}
	for name, c := range cases {
		path := "podinfo-" + name
		digest := registry.push(t, path, "latest", nil, layer{fluxLayer, tarred(t, map[string]string{"name": name}), nil})
		c.sign(path, digest)
		if c.secret != nil {
			c.verify.SecretRef = local("signed-" + name)
		}
		revisions[name] = "latest@" + digest
		objects[name] = w.createOCI("signed-"+name, sourcev1.OCIRepositorySpec{URL: "oci://" + registry.host + "/" + path, Verify: &c.verify})
		if c.secret != nil {
			awaitObject(w, "the wait of "+name, objects[name], ociFails("SourceVerified", "VerificationError", "failed to get secret 'default/signed-"+name+"'"))
		}
	}
	for name, c := range cases {
		if c.secret != nil {
			w.secret("signed-"+name, c.secret)
		}
	}
	for name, obj := range objects {
		awaitObject(w, name, obj, ociAt(revisions[name]))
		if c := apimeta.FindStatusCondition(obj.Status.Conditions, "SourceVerified"); c == nil || c.Status != metav1.ConditionTrue || !strings.HasSuffix(c.Message, revisions[name]) {
			t.Errorf("%s: SourceVerified is %+v", name, c)
		}
	}
}
