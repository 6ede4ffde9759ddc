package chaos

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// cluster watches the ConfigMaps of a namespace from before the first push to the
// end. Their values are numbers of pushes, which must never go down.
type cluster struct {
	seen  map[string]int
	steps int
}

func (c *cluster) watch(ctx context.Context, k *harness.Cluster, namespace string) error {
	r, err := k.Resource(harness.ConfigMapKind, namespace)
	if err != nil {
		return err
	}
	c.seen = map[string]int{}
	for ctx.Err() == nil {
		list, err := r.List(ctx, metav1.ListOptions{})
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		for i := range list.Items {
			if err := c.see(&list.Items[i]); err != nil {
				return err
			}
		}
		w, err := r.Watch(ctx, metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		for e := range w.ResultChan() {
			u, isObject := e.Object.(*unstructured.Unstructured)
			if !isObject || e.Type == "ERROR" || e.Type == "BOOKMARK" {
				break
			}
			if e.Type == "DELETED" && strings.Contains(u.GetName(), madeBy) {
				continue
			}
			if e.Type == "DELETED" {
				return fmt.Errorf("ConfigMap %s was deleted, no push removes anything", u.GetName())
			}
			if err := c.see(u); err != nil {
				return err
			}
		}
		w.Stop()
	}
	return nil
}

func (c *cluster) see(u *unstructured.Unstructured) error {
	text, found, err := unstructured.NestedString(u.Object, "data", "push")
	if err != nil || !found {
		return err // one of Kubernetes' own
	}
	push, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("ConfigMap %s holds %q: %w", u.GetName(), text, err)
	}
	if before := c.seen[u.GetName()]; push < before {
		return fmt.Errorf("ConfigMap %s went back from push %d to push %d", u.GetName(), before, push)
	}
	c.seen[u.GetName()] = push
	c.steps++
	return nil
}

// subscriber reads stream EVENTS from its first message to the end and checks
// that no sequence number is missing.
type subscriber struct {
	first uint64
	last  atomic.Uint64
	count int
}

// reached says whether the subscriber saw a sequence number; it may be asked
// while the subscriber reads.
func (s *subscriber) reached(sequence uint64) bool { return s.last.Load() >= sequence }

func (s *subscriber) follow(ctx context.Context, connection *nats.Conn) error {
	var broken error
	err := harness.FollowEvents(ctx, connection, func(e harness.Entry) bool {
		last := s.last.Load()
		switch {
		case e.Err != nil:
			broken = fmt.Errorf("message %d on %s is no event: %w", e.Sequence, e.Subject, e.Err)
		case last != 0 && e.Sequence != last+1:
			broken = fmt.Errorf("message %d came after %d", e.Sequence, last)
		case last == 0:
			s.first = e.Sequence
		}
		s.last.Store(e.Sequence)
		s.count++
		return broken == nil
	})
	if broken != nil {
		return broken
	}
	return ignoreEnd(ctx, err)
}

// ignoreEnd drops the error of what was going on when the test had seen enough.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}
