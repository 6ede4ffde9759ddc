package livestate

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Synced waits until the kinds were listed once, or every kind managed so far when
// none is given. A kind that cannot be listed (no rights, not served) counts as
// listed: its objects stay Unknown.
func (t *Table) Synced(ctx context.Context, kinds ...schema.GroupVersionKind) error {
	t.mu.Lock()
	var waits []chan struct{}
	for _, gvk := range kinds {
		if k := t.kinds[gvk.GroupKind()]; k != nil {
			waits = append(waits, k.synced)
		}
	}
	if len(kinds) == 0 {
		for _, k := range t.kinds {
			waits = append(waits, k.synced)
		}
	}
	t.mu.Unlock()
	for _, w := range waits {
		select {
		case <-w:
			continue
		default:
		}
		select {
		case <-w:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Listed waits until the kinds were listed once, for each until patience has passed since its first list was asked for, by
// whomever, and says whether they were. What Synced counts as listed counts here too.
func (t *Table) Listed(ctx context.Context, patience time.Duration, kinds ...schema.GroupVersionKind) bool {
	for _, gvk := range kinds {
		t.mu.Lock()
		left := patience
		if k := t.kinds[gvk.GroupKind()]; k != nil {
			left -= t.now().Sub(k.since)
		}
		t.mu.Unlock()
		bounded, cancel := context.WithTimeout(ctx, max(left, 0))
		err := t.Synced(bounded, gvk)
		cancel()
		if err != nil {
			return false
		}
	}
	return true
}
