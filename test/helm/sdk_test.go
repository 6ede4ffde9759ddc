package helm

import (
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"k8s.io/cli-runtime/pkg/genericclioptions"
)

// sdk is the helm command's own library on a namespace.
func sdk(t *testing.T, namespace string) *action.Configuration {
	t.Helper()
	flags := genericclioptions.NewConfigFlags(false)
	flags.KubeConfig, flags.Namespace = &world.Kubeconfig, &namespace
	c := &action.Configuration{}
	if err := c.Init(flags, namespace, "secret", t.Logf); err != nil {
		t.Fatal(err)
	}
	return c
}

// history is the status and the description of each revision, oldest first.
func history(t *testing.T, namespace, name string) []string {
	t.Helper()
	revisions, err := action.NewHistory(sdk(t, namespace)).Run(name)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, len(revisions))
	for _, r := range revisions {
		out[r.Version-revisions[0].Version] = r.Info.Status.String() + ": " + r.Info.Description
	}
	return out
}
