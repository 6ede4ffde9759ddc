package build_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/build"
	"github.com/sluice-gitops/sluice/services/builder/internal/decrypt"
	dt "github.com/sluice-gitops/sluice/services/builder/internal/decrypt/decrypttest"
)

const plainSecret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\nstringData:\n  pass: ${word}hunter2\n"

// value finds data of an object, decoded when it is a Secret's.
func value(t *testing.T, plain []byte, kind, field string) string {
	t.Helper()
	objects, err := render.Decode(plain)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if o.GetKind() != kind {
			continue
		}
		if data, ok := o.Object["stringData"].(map[string]any); ok {
			text, _ := data[field].(string)
			return text
		}
		data, _ := o.Object["data"].(map[string]any)
		text, _ := data[field].(string)
		if body, err := base64.StdEncoding.DecodeString(text); err == nil && kind == "Secret" {
			return string(body)
		}
		return text
	}
	return ""
}

func TestDecryption(t *testing.T) {
	b, pool, folder := newBuilder(t, 1)
	age, pgp := dt.NewAge(t), dt.NewPGP(t)
	in := build.Inputs{
		Variables: map[string]string{"word": "big-"},
		Keys: decrypt.Keys{Origin: "Secret ns/keys", Entries: map[string][]byte{
			"x.agekey": age.Private(), "x.asc": pgp.Private(t, ""),
		}},
	}
	forAge, forPGP := dt.For{Age: []dt.Age{age}}, dt.For{PGP: []dt.PGP{pgp}}
	fields := dt.For{Age: forAge.Age, Regex: "^(data|stringData)$"}
	generator := func(fields string) string {
		return "generatorOptions: {disableNameSuffixHash: true}\nsecretGenerator:\n- name: s\n  " + fields + "\n"
	}
	target := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  pass: old\n"
	patch := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  pass: hunter2\n"
	jsonPatch := `[{"op": "replace", "path": "/data/pass", "value": "hunter2"}]`
	tests := []struct {
		reason      string
		files       map[string]string
		spec        kustomizev1.KustomizationSpec
		kind, field string
		want        string
	}{
		{"a Secret in a manifest, then its variables", map[string]string{"s.yaml": dt.Encrypt(t, "yaml", plainSecret, fields)},
			kustomizev1.KustomizationSpec{}, "Secret", "pass", "big-hunter2"},
		{"a Secret that kustomize changes on the way", map[string]string{"s.yaml": dt.Encrypt(t, "yaml", plainSecret, fields)},
			kustomizev1.KustomizationSpec{NamePrefix: "pre-", TargetNamespace: "t", CommonMetadata: &kustomizev1.CommonMetadata{Labels: map[string]string{"a": "b"}}},
			"Secret", "pass", "big-hunter2"},
		{"a Secret that is encrypted as a whole", map[string]string{"s.yaml": dt.Encrypt(t, "yaml", plainSecret, forPGP)},
			kustomizev1.KustomizationSpec{TargetNamespace: "t"}, "Secret", "pass", "big-hunter2"},
		{"a file of a Secret generator", map[string]string{"kustomization.yaml": generator("files: [key=tls.key]"), "tls.key": dt.Encrypt(t, "binary", "hunter2", forPGP)},
			kustomizev1.KustomizationSpec{}, "Secret", "key", "hunter2"},
		{"a file that keeps its name", map[string]string{"kustomization.yaml": generator("files: [sub/a.ini]"), "sub/a.ini": dt.Encrypt(t, "ini", "[db]\npass = hunter2\n", forAge)},
			kustomizev1.KustomizationSpec{}, "Secret", "a.ini", "[db]\npass = hunter2\n"},
		{"a file of another format than its key says", map[string]string{"kustomization.yaml": generator("files: [.dockerconfigjson=docker.yaml]"), "docker.yaml": dt.Encrypt(t, "yaml", "a: hunter2\n", forAge)},
			kustomizev1.KustomizationSpec{}, "Secret", ".dockerconfigjson", "{\n\t\"a\": \"hunter2\"\n}\n"},
		{"envs of a Secret generator", map[string]string{"kustomization.yaml": generator("envs: [a.env, b]"),
			"a.env": dt.Encrypt(t, "dotenv", "PASS=hunter2\n", forAge), "b": dt.Encrypt(t, "dotenv", "OTHER=x\n", forPGP)},
			kustomizev1.KustomizationSpec{}, "Secret", "PASS", "hunter2"},
		{"a generator of a base", map[string]string{"kustomization.yaml": "resources: [base]", "base/kustomization.yaml": generator("env: a.env"),
			"base/a.env": dt.Encrypt(t, "dotenv", "PASS=hunter2\n", forAge)},
			kustomizev1.KustomizationSpec{}, "Secret", "PASS", "hunter2"},
		{"a generator of a component of the spec", map[string]string{"kustomization.yaml": "resources: []\nnamespace: x",
			"comp/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n" + generator("envs: [../shared.env]"),
			"shared.env":              dt.Encrypt(t, "dotenv", "PASS=hunter2\n", forAge)},
			kustomizev1.KustomizationSpec{Components: []string{"comp"}}, "Secret", "PASS", "hunter2"},
		{"a strategic merge patch", map[string]string{"kustomization.yaml": "resources: [c.yaml]\npatches: [{path: p.yaml}]", "c.yaml": target,
			"p.yaml": dt.Encrypt(t, "yaml", patch, dt.For{Age: forAge.Age, Regex: "^data$"})},
			kustomizev1.KustomizationSpec{}, "ConfigMap", "pass", "hunter2"},
		{"a patch of the old spelling", map[string]string{"kustomization.yaml": "resources: [c.yaml]\npatchesStrategicMerge: [p.yaml]", "c.yaml": target,
			"p.yaml": dt.Encrypt(t, "yaml", patch, dt.For{Age: forAge.Age, Regex: "^data$"})},
			kustomizev1.KustomizationSpec{}, "ConfigMap", "pass", "hunter2"},
		{"a JSON 6902 patch, as binary, because sops takes no list", map[string]string{"kustomization.yaml": "resources: [c.yaml]\npatches: [{path: p, target: {kind: ConfigMap}}]", "c.yaml": target,
			"p": dt.Encrypt(t, "binary", jsonPatch, forAge)},
			kustomizev1.KustomizationSpec{}, "ConfigMap", "pass", "hunter2"},
		{"a document in the value of a Secret", map[string]string{"s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {pass: " +
			base64.StdEncoding.EncodeToString([]byte(dt.Encrypt(t, "binary", "hunter2", forPGP))) + "}"},
			kustomizev1.KustomizationSpec{}, "Secret", "pass", "hunter2"},
	}
	for i, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			tt.spec.Decryption = &kustomizev1.Decryption{Provider: "sops"}
			tt.spec.PostBuild = &kustomizev1.PostBuild{}
			out, err := b.Build(t.Context(), "tenant", write(t, folder, fmt.Sprint(i), tt.files), &tt.spec, in, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, value(t, out.Plain, tt.kind, tt.field)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if pool.Started() != 1 {
		t.Errorf("%d children for clean builds, want 1", pool.Started())
	}
	t.Run("a ConfigMap generator is given what is in Git", func(t *testing.T) {
		sealed := dt.Encrypt(t, "dotenv", "PASS=hunter2\n", forAge)
		tree := write(t, folder, "config", map[string]string{"kustomization.yaml": "configMapGenerator: [{name: c, files: [a.env]}]", "a.env": sealed})
		out, err := b.Build(t.Context(), "tenant", tree, &kustomizev1.KustomizationSpec{Decryption: &kustomizev1.Decryption{Provider: "sops"}}, in, time.Minute)
		if err != nil || value(t, out.Plain, "ConfigMap", "a.env") != sealed {
			t.Errorf("%s %v", out.Plain, err)
		}
	})
	t.Run("a file encrypted again gives the same bytes, names with hashes included", func(t *testing.T) {
		var first string
		for i := range 2 {
			tree := write(t, folder, fmt.Sprint("again", i), map[string]string{
				"kustomization.yaml": "resources: [s.yaml]\nsecretGenerator: [{name: g, envs: [a.env]}]",
				"a.env":              dt.Encrypt(t, "dotenv", "PASS=hunter2\n", forAge), "s.yaml": dt.Encrypt(t, "yaml", plainSecret, fields)})
			out, err := b.Build(t.Context(), "tenant", tree, &kustomizev1.KustomizationSpec{Decryption: &kustomizev1.Decryption{Provider: "sops"}}, in, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 && string(out.Plain) != first {
				t.Error("the render differs")
			}
			first = string(out.Plain)
		}
	})
}

func TestDecryptionFailures(t *testing.T) {
	b, _, folder := newBuilder(t, 1)
	age, other := dt.NewAge(t), dt.NewAge(t)
	keys := decrypt.Keys{Origin: "Secret ns/keys", Entries: map[string][]byte{"x.agekey": age.Private()}}
	to := dt.For{Age: []dt.Age{age}}
	env := func(to dt.For) map[string]string {
		return map[string]string{"app/kustomization.yaml": "secretGenerator: [{name: s, envs: [a.env]}]", "app/a.env": dt.Encrypt(t, "dotenv", "PASS=hunter2\n", to)}
	}
	secret := func(edit string, to dt.For) map[string]string {
		return map[string]string{"app/s.yaml": dt.Encrypt(t, "yaml", strings.Replace(plainSecret, "  name: s\n", "  name: s\n"+edit, 1), to)}
	}
	tests := []struct {
		reason string
		files  map[string]string
		keys   decrypt.Keys
		want   build.InputError
	}{
		{"a file for another key", env(dt.For{Age: []dt.Age{other}}), keys,
			build.InputError{Reason: "BuildFailed", Message: "decrypt app/a.env: no key of Secret ns/keys opens it: add the private key of age age1"}},
		{"an object for another key", secret("", dt.For{Age: []dt.Age{other}, Regex: "^stringData$"}), keys,
			build.InputError{Reason: "BuildFailed", Message: "decrypt Secret/s from app/s.yaml: no key of Secret ns/keys opens it"}},
		{"no Secret with keys", env(to), decrypt.Keys{},
			build.InputError{Reason: "BuildFailed", Message: "no key of the Kustomization (spec.decryption.secretRef is not set) opens it"}},
		{"keys of a cloud only", env(dt.For{KMS: []string{"arn:aws:kms:eu-west-1:123456789012:key/x"}}), keys,
			build.InputError{Reason: "BuildFailed", Message: "it is encrypted for kms arn:aws:kms", Stalled: true}},
		{"a key that cannot be read", env(to), decrypt.Keys{Origin: "Secret ns/keys", Entries: map[string][]byte{"x.agekey": []byte("hunter2")}},
			build.InputError{Reason: "BuildFailed", Message: "spec.decryption: entry x.agekey of Secret ns/keys holds no age secret keys"}},
		{"a Secret that opts out cannot be applied", secret("  annotations: {kustomize.toolkit.fluxcd.io/decrypt: disabled}\n", dt.For{Age: to.Age, Regex: "^stringData$"}), keys,
			build.InputError{Reason: "ReconciliationFailed", Message: "Secret//s is SOPS encrypted"}},
		{"an error that quotes what was decrypted", map[string]string{"app/kustomization.yaml": "secretGenerator: [{name: s, envs: [p]}]",
			"app/p": dt.Encrypt(t, "binary", "=hunter2\xff", to)}, keys,
			build.InputError{Reason: "BuildFailed", Message: "the message is not shown because it may quote what was decrypted"}},
		{"an error that quotes nothing", map[string]string{"app/kustomization.yaml": "resources: [gone.yaml]\nsecretGenerator: [{name: s, envs: [a.env]}]",
			"app/a.env": env(to)["app/a.env"]}, keys,
			build.InputError{Reason: "BuildFailed", Message: "app/gone.yaml"}},
	}
	for i, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			spec := &kustomizev1.KustomizationSpec{Path: "app", Decryption: &kustomizev1.Decryption{Provider: "sops"}}
			_, err := b.Build(t.Context(), "tenant", write(t, folder, fmt.Sprint(i), tt.files), spec, build.Inputs{Keys: tt.keys}, time.Minute)
			var got *build.InputError
			if !errors.As(err, &got) {
				t.Fatalf("got %v", err)
			}
			if got.Reason != tt.want.Reason || got.Stalled != tt.want.Stalled || !strings.Contains(got.Message, tt.want.Message) {
				t.Errorf("got %+v", got)
			}
			if strings.Contains(got.Message, "hunter2") {
				t.Errorf("plain text in %s", got.Message)
			}
		})
	}
}
