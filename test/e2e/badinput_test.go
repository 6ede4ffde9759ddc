package e2e

import (
	"maps"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/test/harness"
)

// witnessLimit is how long a healthy neighbour may take while something is wrong.
const witnessLimit = 10 * time.Second

// badInput is something wrong in Git or in an object, and what must be said about it.
type badInput struct {
	name, why string
	// files are added to the repository that the witness uses too.
	files map[string]string
	// link is a symbolic link in the repository: path and target.
	link [2]string
	// create makes the object that is to report; a Kustomization of folder bad when nil.
	create func(n tenant)
	// kind of the object, whose name is bad.
	kind schema.GroupVersionKind
	// reason of the Ready condition and of the Kubernetes Event.
	reason string
	// message is what the message must say: what is wrong, where, and what to do.
	message []string
	// event is the type of the CloudEvent.
	event string
}

// Every kind of bad input is reported where its owner looks for it, and holds
// nobody else up.
func TestBadInput(t *testing.T) {
	for _, group := range [][]badInput{badSources(t), badTrees(), badObjects()} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t)
			})
		}
	}
}

func (c badInput) run(t *testing.T) {
	files := map[string]string{"witness/settings.yaml": configMap("witness", "first")}
	maps.Copy(files, c.files)
	n := newTenant(t, "bad-"+c.name, files)
	if c.link[0] != "" {
		var err error
		if n.Commit, err = n.Repo.Symlink(within(t, limit), harness.Branch, "Link", c.link[0], c.link[1]); err != nil {
			t.Fatal(err)
		}
		if err := n.Deliver(within(t, limit)); err != nil {
			t.Fatal(err)
		}
	}
	n.app("witness", nil)
	n.live("witness")
	if c.create == nil {
		n.app("bad", nil)
	} else {
		c.create(n)
	}
	n.await(c.kind, "bad", condition("Ready", "False", c.reason, c.message...))
	n.witness()
	seeKubernetesEvent(t, n.Namespace, c.kind.Kind, "bad", "Warning", c.reason, c.message...)
	seeEvent(t, c.event, events.NewKey(c.kind.Kind, n.Namespace, "bad"), nil)
	seeLog(t, n.Namespace, `"bad"`, c.reason)
}

// witness pushes a change of the witness and waits until it is live.
func (n tenant) witness() {
	n.t.Helper()
	start := time.Now()
	n.push(map[string]string{"witness/settings.yaml": configMap("witness", n.Commit)})
	want := n.Commit
	if err := n.Live(within(n.t, witnessLimit), "witness"); err != nil {
		n.t.Fatalf("a healthy neighbour was held up: %v", err)
	}
	n.t.Logf("the witness was live at %.8s after %s", want, time.Since(start).Round(time.Millisecond))
}
