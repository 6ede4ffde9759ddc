package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/test/harness"
)

// seeEvent waits until the log of events has one of a type about an object and returns its place.
func seeEvent(t *testing.T, kind string, object events.Key, accept func(harness.Entry) bool) harness.Entry {
	t.Helper()
	var found harness.Entry
	err := world.Log.Follow(within(t, limit), func(e harness.Entry) bool {
		if e.Err != nil || e.Event.Type() != kind || e.Event.Subject() != object.String() || (accept != nil && !accept(e)) {
			return true
		}
		found = e
		return false
	})
	if err != nil {
		t.Fatalf("wait for event %s of %s: %v", kind, object, err)
	}
	return found
}

// history returns the events about the objects of a namespace, in order.
func history(t *testing.T, namespace string) []harness.Entry {
	t.Helper()
	all, err := world.Log.Read(within(t, limit))
	if err != nil {
		t.Fatal(err)
	}
	var own []harness.Entry
	for _, e := range all {
		if e.Err == nil && strings.Contains(e.Event.Subject(), "/"+namespace+"/") {
			own = append(own, e)
		}
	}
	return own
}

// seeKubernetesEvent waits for a Kubernetes Event of a type and reason about an
// object of the namespace whose message holds all parts.
func seeKubernetesEvent(t *testing.T, namespace, kind, name, class, reason string, parts ...string) {
	t.Helper()
	ctx := within(t, limit)
	r, err := world.Cluster.Resource(harness.EventKind, namespace)
	if err != nil {
		t.Fatal(err)
	}
	selector := fmt.Sprintf("involvedObject.kind=%s,involvedObject.name=%s", kind, name)
	var seen []string
	err = harness.Until(ctx, 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		list, err := r.List(ctx, metav1.ListOptions{FieldSelector: selector})
		if err != nil {
			return false, err
		}
		seen = seen[:0]
		for _, item := range list.Items {
			message := text(&item, "message")
			if text(&item, "type") == class && text(&item, "reason") == reason && containsAll(message, parts) {
				return true, nil
			}
			seen = append(seen, text(&item, "type")+" "+text(&item, "reason")+": "+message)
		}
		return false, nil
	})
	if err != nil {
		t.Errorf("no Kubernetes Event %s %s about %s %s/%s with %q: %v; there are:\n%s",
			class, reason, kind, namespace, name, parts, err, strings.Join(seen, "\n"))
	}
}

// seeLog waits until one line of the process's log holds all parts.
func seeLog(t *testing.T, parts ...string) {
	t.Helper()
	err := harness.Until(within(t, limit), 100*time.Millisecond, func(context.Context) (bool, error) {
		lines, err := logLines(parts...)
		return len(lines) > 0, err
	})
	if err != nil {
		t.Errorf("no line of the log holds all of %q: %v", parts, err)
	}
}

// logLines returns the lines of the process's log that hold all parts.
func logLines(parts ...string) ([]string, error) {
	file, err := os.Open(world.Sluice.Log())
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var found []string
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if containsAll(lines.Text(), parts) {
			found = append(found, lines.Text())
		}
	}
	return found, lines.Err()
}

func containsAll(s string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}
