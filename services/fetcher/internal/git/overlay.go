package git

import (
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

const (
	// maxOverlay and maxOverlayBytes bound what a mirror holds in memory before
	// it goes to disk.
	maxOverlay      = 2000
	maxOverlayBytes = 4 << 20
)

// overlay is an object store on disk with the newest objects in memory: a push
// brings a handful, and a mirror is only a cache, so they need not be on disk
// before the push is live. What a crash loses is fetched again.
type overlay struct {
	*filesystem.Storage
	objects map[plumbing.Hash]plumbing.EncodedObject
	bytes   int64
}

func newOverlay(disk *filesystem.Storage) *overlay {
	return &overlay{Storage: disk, objects: map[plumbing.Hash]plumbing.EncodedObject{}}
}

// SetEncodedObject keeps an object in memory.
func (o *overlay) SetEncodedObject(obj plumbing.EncodedObject) (plumbing.Hash, error) {
	if o.bytes+obj.Size() > maxOverlayBytes {
		return o.Storage.SetEncodedObject(obj)
	}
	o.objects[obj.Hash()] = obj
	o.bytes += obj.Size()
	return obj.Hash(), nil
}

// EncodedObject returns an object from memory or from disk.
func (o *overlay) EncodedObject(kind plumbing.ObjectType, h plumbing.Hash) (plumbing.EncodedObject, error) {
	if obj, ok := o.objects[h]; ok {
		if kind != plumbing.AnyObject && obj.Type() != kind {
			return nil, plumbing.ErrObjectNotFound
		}
		return obj, nil
	}
	return o.Storage.EncodedObject(kind, h)
}

// HasEncodedObject returns nil if the object is there.
func (o *overlay) HasEncodedObject(h plumbing.Hash) error {
	if _, ok := o.objects[h]; ok {
		return nil
	}
	return o.Storage.HasEncodedObject(h)
}

// EncodedObjectSize returns the size of an object.
func (o *overlay) EncodedObjectSize(h plumbing.Hash) (int64, error) {
	if obj, ok := o.objects[h]; ok {
		return obj.Size(), nil
	}
	return o.Storage.EncodedObjectSize(h)
}

// full says that it is time to flush.
func (o *overlay) full() bool { return len(o.objects) >= maxOverlay || o.bytes >= maxOverlayBytes/2 }

// flush writes what is in memory to disk.
func (o *overlay) flush() error {
	for h, obj := range o.objects {
		if _, err := o.Storage.SetEncodedObject(obj); err != nil {
			return fmt.Errorf("write object %s: %w", h, err)
		}
	}
	clear(o.objects)
	o.bytes = 0
	return nil
}
