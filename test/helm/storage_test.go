package helm

import (
	"testing"
)

// TestTakenName says which Secret has the name under which a revision is to be stored, and is none itself.
func TestTakenName(t *testing.T) {
	const secret = "sh.helm.release.v1.app.v1"
	n := newTenant(t, "taken", webChart())
	n.release("app", "web", "")
	n.ready("app")
	n.patch(secretKind, secret, `{"metadata":{"labels":{"version":null}}}`)
	n.patch(releaseKind, "app", `{"spec":{"values":{"message":"two"}}}`)
	n.await(releaseKind, "app", all(says("Ready", "False", "InstallFailed", "Secret "+n.Namespace+"/"+secret), says("Released", "False", "InstallFailed", "version=1")))
	n.patch(secretKind, secret, `{"metadata":{"labels":{"version":"1"}}}`)
	n.request("app", "one")
	n.ready("app")
	n.await(releaseKind, "app", says("Ready", "True", "UpgradeSucceeded", "app.v2 "))
}

// TestLastingStepError says why an action does not end: the Secret of the revision before may not be changed. The action
// goes on once that is mended.
func TestLastingStepError(t *testing.T) {
	const secret = "sh.helm.release.v1.app.v1"
	n := newTenant(t, "lasting", webChart())
	n.release("app", "web", "")
	n.ready("app")
	n.patch(secretKind, secret, `{"immutable":true}`)
	n.patch(releaseKind, "app", `{"spec":{"values":{"message":"two"}}}`)
	n.await(releaseKind, "app", all(says("Ready", "False", "FactoryError", secret), says("Reconciling", "True", "Progressing", "immutable")))
	if err := n.Delete(within(t), secretKind, secret); err != nil {
		t.Fatal(err)
	}
	n.request("app", "one")
	n.ready("app")
	n.await(releaseKind, "app", says("Ready", "True", "UpgradeSucceeded", "app.v2 "))
}
