package livestate

import (
	"context"
	"fmt"
	"strings"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// What is kept of a cluster that may be a tenant's own. Kubernetes itself has no longer names, labels, UIDs and versions.
const (
	// maxObjects is how many objects a table has before it takes no more of a kind.
	maxObjects = 100_000
	// recordSize is what an object counts of what is kept of all such clusters, in bytes.
	recordSize = 1 << 10
	maxText    = 128
	maxName    = 253
)

// clip returns a text with no more of it than a limit, which keeps nothing else of it in memory.
func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.Clone(text[:limit])
}

// sighting is what is kept of an object's metadata until the list that it is in is complete.
type sighting struct {
	metav1.TypeMeta
	metav1.ObjectMeta // name and namespace only
	live              Slim
}

// DeepCopyObject implements runtime.Object.
func (s *sighting) DeepCopyObject() runtime.Object {
	c := *s
	return &c
}

func (s *sighting) key() types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}

// sightings are a list.
type sightings struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []*sighting
}

// DeepCopyObject implements runtime.Object.
func (s *sightings) DeepCopyObject() runtime.Object {
	c := *s
	return &c
}

// sight reduces what a list or a watch shows; nil when it is no object that can exist.
func (f *feed) sight(o any) *sighting {
	switch o := o.(type) {
	case *sighting:
		if o.Name != "" {
			return o
		}
	case *metav1.PartialObjectMetadata:
		if o.Name == "" || len(o.Name) > maxName || len(o.Namespace) > maxName {
			return nil
		}
		return &sighting{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name}, live: f.table.hash.reduce(o)}
	}
	return nil
}

// Transformer implements cache.TransformingStore: so are the objects kept that a watch begins with.
func (f *feed) Transformer() cache.TransformFunc {
	return func(o any) (any, error) {
		if s := f.sight(o); s != nil {
			return s, nil
		}
		return &sighting{}, nil // for an error all of the object would be logged
	}
}

// list reads all objects of the kind.
func (f *feed) list(ctx context.Context, r cluster.Ref, opts metav1.ListOptions) (*sightings, error) {
	all := &sightings{}
	meta, err := f.table.client.ListMetadata(ctx, r, opts, func(m *metav1.PartialObjectMetadata) {
		if s := f.sight(m); s != nil {
			all.Items = append(all.Items, s)
		}
	})
	all.ListMeta = meta
	return all, err
}

// full says whether so many new objects are too many, for the table or with all others. The lock is held.
func (t *Table) full(objects int) bool {
	if t.limit == 0 {
		return false
	}
	for _, k := range t.kinds {
		objects += len(k.records)
	}
	return objects > t.limit || !t.kept.Resize(int64(objects)*recordSize)
}

// overflow takes the fact that the kind has too many objects: it counts as one that is not watched until a list of it
// fits, and objects that nobody here applied are let go. The lock is held.
func (f *feed) overflow() error {
	f.over = true
	if f.current != nil {
		f.current.Stop()
	}
	f.blind()
	for key, rec := range f.kind.records {
		if rec.applied == nil && len(rec.lost) == 0 {
			rec.present, rec.seen = false, Slim{}
			f.kind.tidy(key, rec)
		}
	}
	return fmt.Errorf("watch %s: the cluster has more objects with owner labels than there is room for, of %d at most", f.kind.gvk.Kind, f.table.limit)
}
