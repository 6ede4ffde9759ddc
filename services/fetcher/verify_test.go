package fetcher_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

// keys makes a Secret of public keys.
func (w *world) keys(name string, signers ...*gittest.Signer) meta.LocalObjectReference {
	w.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string][]byte{}}
	for i, s := range signers {
		secret.Data[fmt.Sprint(i, "-", s.Name)] = s.Public
	}
	if err := w.client.Create(w.t.Context(), secret); err != nil {
		w.t.Fatal(err)
	}
	return meta.LocalObjectReference{Name: name}
}

func verifiedAs(message string) func(*sourcev1.GitRepository) bool {
	return func(o *sourcev1.GitRepository) bool {
		c := apimeta.FindStatusCondition(o.Status.Conditions, "SourceVerified")
		return ready(o) && c != nil && c.Status == metav1.ConditionTrue && c.Reason == "Succeeded" && c.Message == message
	}
}

// unverified says that nothing was stored because of a signature.
func unverified(reason, message string) func(*sourcev1.GitRepository) bool {
	return func(o *sourcev1.GitRepository) bool {
		c := apimeta.FindStatusCondition(o.Status.Conditions, "SourceVerified")
		return c != nil && c.Status == metav1.ConditionFalse && broken("SourceVerified", reason, message)(o) && o.Status.Artifact == nil
	}
}

func verified(t *testing.T, w *world) {
	pgp, ed, rsa, stranger := gittest.NewPGPSigner(t), gittest.NewSSHSigner(t, "ed25519"), gittest.NewSSHSigner(t, "rsa"), gittest.NewSSHSigner(t, "ed25519")
	repo := gittest.NewRepo(t, w.root, "signed")
	repo.Commit("main", "first", map[string]string{"a.yaml": "1"})
	byPGP := repo.SignedCommit(pgp, "pgp", "by PGP\n\nwith a body\n")
	byEd := repo.SignedCommit(ed, "ed25519", "by SSH")
	tagEd := repo.SignedTag(ed, "v1.0.0")
	repo.Git("push", "--quiet", "origin", tagEd+":refs/tags/v9.0.0") // v1.0.0 under another name
	byRSA := repo.SignedCommit(rsa, "rsa", "by RSA")
	tagPGP := repo.SignedTag(pgp, "v2.0.0")
	byNobody := repo.Commit("unsigned", "unsigned", map[string]string{"a.yaml": "2"})
	tagOfNobody := repo.SignedTag(ed, "v3.0.0")
	repo.Tag("v4.0.0", "annotated")
	unsignedTag := repo.Git("rev-parse", "refs/tags/v4.0.0")
	repo.Tag("v5.0.0", "")
	all, one, none := w.keys("all-keys", pgp, ed, rsa), w.keys("one-key", ed), w.keys("no-keys")
	w.keys("other-key", stranger)
	w.keys("bad-key", &gittest.Signer{Name: "x.asc", Public: []byte("none")})
	misnamed := *ed
	misnamed.Name = "key.asc"
	w.keys("misnamed-key", &misnamed)
	tag := func(name string) *sourcev1.GitRepositoryRef { return &sourcev1.GitRepositoryRef{Tag: name} }

	for name, c := range map[string]struct {
		ref     *sourcev1.GitRepositoryRef
		mode    string
		keys    meta.LocalObjectReference
		message string
	}{
		"head-pgp":       {branch("pgp"), "HEAD", all, "verified signature of\n\t- commit '" + byPGP + "' with key '" + pgp.ID + "'"},
		"head-old-name":  {branch("ed25519"), "head", all, "verified signature of\n\t- commit '" + byEd + "' with key '" + ed.ID + "'"},
		"head-rsa":       {branch("rsa"), "HEAD", all, "verified signature of\n\t- commit '" + byRSA + "' with key '" + rsa.ID + "'"},
		"tag-ssh":        {tag("v1.0.0"), "Tag", one, "verified signature of\n\t- tag 'v1.0.0@" + tagEd + "' with key '" + ed.ID + "'"},
		"tag-by-semver":  {&sourcev1.GitRepositoryRef{SemVer: "2.x"}, "Tag", all, "verified signature of\n\t- tag 'v2.0.0@" + tagPGP + "' with key '" + pgp.ID + "'"},
		"tag-by-name":    {&sourcev1.GitRepositoryRef{Name: "refs/tags/v2.0.0"}, "TagAndHEAD", all, "verified signature of\n\t- tag 'v2.0.0@" + tagPGP + "' with key '" + pgp.ID + "'\n\t- commit '" + byRSA + "' with key '" + rsa.ID + "'"},
		"tag-of-anybody": {tag("v3.0.0"), "Tag", one, "verified signature of\n\t- tag 'v3.0.0@" + tagOfNobody + "' with key '" + ed.ID + "'"},
	} {
		w.create(name, sourcev1.GitRepositorySpec{URL: w.http.URL + "/signed", Reference: c.ref, Verification: &sourcev1.GitRepositoryVerification{Mode: sourcev1.GitVerificationMode(c.mode), SecretRef: c.keys}})
		obj := w.await("verification", name, verifiedAs(c.message))
		if want := strings.Replace(c.mode, "head", "HEAD", 1); obj.Status.SourceVerificationMode == nil || string(*obj.Status.SourceVerificationMode) != want {
			t.Errorf("%s: mode is %v", name, obj.Status.SourceVerificationMode)
		}
	}
	for name, c := range map[string]struct {
		ref                   *sourcev1.GitRepositoryRef
		mode                  string
		keys, reason, message string
	}{
		"unsigned-commit":  {branch("unsigned"), "HEAD", all.Name, "InvalidCommitSignature", "signature verification of commit '" + byNobody + "' failed: "},
		"unsigned-tag":     {tag("v4.0.0"), "Tag", all.Name, "InvalidGitObject", "cannot verify signature of tag 'v4.0.0@" + unsignedTag + "' since it is not signed"},
		"light-tag":        {tag("v5.0.0"), "Tag", all.Name, "InvalidGitObject", "cannot verify signature of tag 'v5.0.0' since it is not signed"},
		"tag-renamed":      {tag("v9.0.0"), "Tag", all.Name, "InvalidTagSignature", "the signed object has another name"},
		"tag-alone-signed": {tag("v3.0.0"), "TagAndHEAD", all.Name, "InvalidCommitSignature", "signature verification of commit '" + byNobody + "' failed: "},
		"no-key":           {branch("pgp"), "HEAD", none.Name, "InvalidCommitSignature", "unable to verify payload with any of the given key rings"},
		"key-of-another":   {branch("ed25519"), "HEAD", "other-key", "InvalidCommitSignature", "unable to verify payload with any of the given key rings"},
		"ssh-key-for-pgp":  {branch("pgp"), "HEAD", one.Name, "InvalidCommitSignature", "unable to verify payload with any of the given key rings"},
		"key-is-bad":       {branch("pgp"), "HEAD", "bad-key", "VerificationError", "unable to read armored key ring '0-x.asc'"},
		"ssh-key-as-pgp":   {branch("ed25519"), "HEAD", "misnamed-key", "VerificationError", "unable to read armored key ring"},
		"no-secret":        {branch("pgp"), "HEAD", "none", "VerificationError", "PGP public keys secret error: "},
		"mode-needs-tag":   {branch("pgp"), "Tag", all.Name, "InvalidVerificationMode", "cannot verify tag object's signature if a tag reference is not specified"},
	} {
		w.create(name, sourcev1.GitRepositorySpec{URL: w.http.URL + "/signed", Reference: c.ref, Verification: &sourcev1.GitRepositoryVerification{
			Mode: sourcev1.GitVerificationMode(c.mode), SecretRef: meta.LocalObjectReference{Name: c.keys},
		}})
		obj := w.await(name, name, unverified(c.reason, c.message))
		if stalled := apimeta.IsStatusConditionTrue(obj.Status.Conditions, "Stalled"); stalled != (c.reason == "InvalidVerificationMode") {
			t.Errorf("%s: stalled is %t", name, stalled)
		}
	}
	// A stricter mode, another key and no verification at all, each at the same revision.
	obj := w.await("the object", "tag-of-anybody", ready)
	w.edit(obj, func(s *sourcev1.GitRepositorySpec) { s.Verification.Mode = "TagAndHEAD" })
	now := w.await("the stricter mode", obj.Name, broken("SourceVerified", "InvalidCommitSignature", byNobody))
	if now.Status.Artifact == nil || *now.Status.SourceVerificationMode != "Tag" {
		t.Errorf("after a failed verification: %+v", now.Status)
	}
	w.edit(obj, func(s *sourcev1.GitRepositorySpec) { s.Verification.Mode = "Tag" })
	w.await("the mode as it was", obj.Name, ready)
	w.kubernetesEvent(obj.Name, "Succeeded", "stored artifact for")
	if err := w.client.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: one.Name}}, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	w.keys(one.Name, stranger)
	w.request(obj.Name, "key taken away")
	w.await("a key that no longer counts", obj.Name, broken("SourceVerified", "InvalidTagSignature", "any of the given key rings"))
	w.edit(obj, func(s *sourcev1.GitRepositorySpec) { s.Verification = nil })
	obj = w.await("no verification", obj.Name, ready)
	if apimeta.FindStatusCondition(obj.Status.Conditions, "SourceVerified") != nil || obj.Status.SourceVerificationMode != nil {
		t.Errorf("without verification: %+v", obj.Status)
	}
}
