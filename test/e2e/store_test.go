package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/test/harness"
)

// A damaged artifact is not served, is noticed when somebody asks for a pass, and
// is made again.
func TestDamagedArtifact(t *testing.T) {
	n := newTenant(t, "damaged-artifact", map[string]string{"witness/settings.yaml": configMap("witness", "first")})
	n.app("witness", nil)
	n.live("witness")
	good := n.artifact()
	n.damage("artifacts")
	if _, err := download(within(t, limit), text(n.get(harness.GitRepositoryKind, harness.SourceName), "status", "artifact", "url")); err == nil {
		t.Error("a damaged artifact was served as if it were whole")
	}
	at := time.Now().Format(time.RFC3339Nano)
	n.patch(harness.GitRepositoryKind, harness.SourceName, fmt.Sprintf(`{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":%q}}}`, at))
	seeKubernetesEvent(t, n.Namespace, "GitRepository", harness.SourceName, "Warning", "ArtifactVerificationFailed", "integrity")
	seeLog(t, n.Namespace, harness.SourceName, "damaged")
	n.await(harness.GitRepositoryKind, harness.SourceName, func(u *unstructured.Unstructured) bool {
		return u != nil && harness.Ready(u, n.Revision()) && text(u, "status", "lastHandledReconcileAt") == at
	})
	if mended := n.artifact(); len(mended) != len(good) {
		t.Errorf("the new artifact has %d files, the first had %d", len(mended), len(good))
	}
	n.witness()
}

// A damaged render is not applied but built again, also when the artifact it is
// built from is damaged too and has to be fetched again; the drift that asked for
// it is reverted then. Applier and builder look at a render after a restart;
// whichever is first finds the damage, and says so.
func TestDamagedBucket(t *testing.T) {
	for _, c := range []struct {
		name    string
		damaged []string
	}{
		{"render", []string{"renders"}},
		{"both", []string{"renders", "artifacts"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newTenant(t, "damaged-"+c.name, map[string]string{"app/settings.yaml": configMap("app", "good")})
			n.app("app", nil)
			n.live("app")
			n.restart(func() { // what it keeps in memory would hide the damage
				for _, what := range c.damaged {
					n.damage(what)
				}
				n.patch(harness.ConfigMapKind, "app", `{"data":{"value":"by hand"}}`)
			})
			n.await(harness.ConfigMapKind, "app", holds("value", "good"))
			n.live("app")
			seeLog(t, n.Namespace, `"app"`, "render", "is corrupt")
			if len(c.damaged) > 1 {
				seeEvent(t, events.TypeBuildFailed, events.NewKey("Kustomization", n.Namespace, "app"), func(e harness.Entry) bool {
					failed, err := events.Decode[events.BuildFailed](e.Event)
					return err == nil && failed.Reason == "ArtifactFailed" && strings.Contains(failed.Message, "damaged")
				})
			}
			n.artifact()
			n.push(map[string]string{"app/settings.yaml": configMap("app", "better")})
			n.await(harness.ConfigMapKind, "app", holds("value", "better"))
			n.live("app")
		})
	}
}

// restart kills sluice, does something while it is away and starts it again.
func (n tenant) restart(meanwhile func()) {
	n.t.Helper()
	world.Sluice.Kill()
	meanwhile()
	if err := world.Sluice.Restart(within(n.t, 2*limit)); err != nil {
		n.t.Fatal(err)
	}
}

// damage flips bytes in the middle of every object of the namespace below a
// folder of the bucket, on disk, behind the back of the S3 server.
func (n tenant) damage(what string) {
	n.t.Helper()
	files, err := n.stored(what)
	if err != nil {
		n.t.Fatal(err)
	}
	if len(files) == 0 {
		n.t.Fatalf("the bucket holds no %s of %s", what, n.Namespace)
	}
	for _, path := range files {
		body, err := os.ReadFile(path)
		if err != nil {
			n.t.Fatal(err)
		}
		for i := len(body) / 3; i < 2*len(body)/3; i++ {
			body[i] ^= 0xff
		}
		if err := os.WriteFile(path, body, 0o600); err != nil {
			n.t.Fatal(err)
		}
	}
}

// stored returns the files in which the S3 server keeps a namespace's objects.
func (n tenant) stored(what string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(filepath.Join(world.Sluice.Data(), "s3", "data"), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && entry.Type().IsRegular() && strings.Contains(path, "/"+what+"/") && strings.Contains(path, "/"+n.Namespace+"/") {
			found = append(found, path)
		}
		return err
	})
	return found, err
}
