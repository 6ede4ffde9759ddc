package controlplane

import (
	"fmt"
	"os"

	"github.com/sluice-gitops/sluice/test/pki"
)

// masters is the group that RBAC lets do everything.
const masters = "system:masters"

// prepare writes the authority, the API server's certificate and the key pair
// that signs service account tokens.
func (c *ControlPlane) prepare() error {
	authority, err := pki.NewAuthority("controlplane")
	if err != nil {
		return err
	}
	c.authority = authority
	server, err := authority.Server("127.0.0.1", "localhost", "10.96.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
	if err != nil {
		return err
	}
	public, private, err := pki.NewKeyPair()
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"ca.crt": authority.Certificate, "ca.key": authority.Key,
		"server.crt": server.Certificate, "server.key": server.Key,
		"service-accounts.pub": public, "service-accounts.key": private,
	}
	for name, content := range files {
		if err := os.WriteFile(c.file(name), content, 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}
