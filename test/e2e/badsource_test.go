package e2e

import (
	"context"
	"testing"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/test/gitserver"
	"github.com/sluice-gitops/sluice/test/harness"
)

// badSources are sources that cannot be fetched.
func badSources(t *testing.T) []badInput {
	t.Helper()
	// The tests run after this function has returned, in parallel: the servers end with the outer test.
	private, err := world.Store.ServeHTTP(t.Context(), gitserver.HTTPOptions{Username: "ada", Password: "right"})
	if err != nil {
		t.Fatal(err)
	}
	ssh, err := world.Store.ServeSSH(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	other, err := world.Store.ServeSSH(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, server := range []interface{ Close() error }{private, ssh, other} {
			if err := server.Close(); err != nil {
				t.Errorf("stop Git server: %v", err)
			}
		}
	})
	source := func(spec func(n tenant) (map[string]any, map[string]string)) func(n tenant) {
		return func(n tenant) {
			n.t.Helper()
			whole, secret := spec(n)
			if secret != nil {
				if err := n.Secret(within(n.t, limit), n.Namespace, "login", secret); err != nil {
					n.t.Fatal(err)
				}
				whole["secretRef"] = map[string]any{"name": "login"}
			}
			if err := n.Source(within(n.t, limit), "bad", whole); err != nil {
				n.t.Fatal(err)
			}
		}
	}
	inputs := []badInput{
		{
			name: "credentials", why: "the password is wrong",
			create: source(func(n tenant) (map[string]any, map[string]string) {
				return map[string]any{"url": private.URL(n.Repo)}, map[string]string{"username": "ada", "password": "wrong"}
			}),
			reason:  "GitOperationFailed",
			message: []string{"authentication required", "check the credentials in secretRef"},
		},
		{
			name: "hostkey", why: "the server is not the one whose key the Secret has",
			create: source(func(n tenant) (map[string]any, map[string]string) {
				return map[string]any{"url": ssh.URL(n.Repo)}, map[string]string{
					"identity": string(ssh.ClientKey), "identity.pub": string(ssh.ClientPublicKey), "known_hosts": string(other.KnownHosts),
				}
			}),
			reason:  "GitOperationFailed",
			message: []string{"knownhosts: key is unknown", "'known_hosts' in secretRef has no line for", "add its host key"},
		},
		{
			name: "branch", why: "the branch does not exist",
			create: source(func(n tenant) (map[string]any, map[string]string) {
				return map[string]any{"url": n.HTTP.URL(n.Repo), "ref": map[string]any{"branch": "missing"}}, nil
			}),
			reason:  "GitOperationFailed",
			message: []string{"couldn't find remote ref", "refs/heads/missing"},
		},
		{
			name: "secret", why: "the Secret does not exist",
			create: source(func(n tenant) (map[string]any, map[string]string) {
				return map[string]any{"url": private.URL(n.Repo), "secretRef": map[string]any{"name": "nowhere"}}, nil
			}),
			reason:  "AuthenticationFailed",
			message: []string{"failed to get secret", "nowhere"},
		},
	}
	for i := range inputs {
		inputs[i].kind, inputs[i].event = harness.GitRepositoryKind, events.TypeSourceFailed
	}
	return inputs
}
