package git

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

const (
	// maxOverlay and maxOverlayBytes are what a mirror may hold in memory from one
	// fetch to the next.
	maxOverlay      = 2000
	maxOverlayBytes = 2 << 20
	// maxFetchBytes is what it may hold while it fetches.
	maxFetchBytes = 16 << 20
)

// overlay is an object store on disk with the newest objects in memory: a push
// brings a handful, and a mirror is only a cache, so they need not be on disk
// before the push is live. What a crash loses is fetched again.
//
// Any number may read while one writes: the store below does one thing at a time, which is
// no longer than one object takes.
type overlay struct {
	*filesystem.Storage

	mu      sync.Mutex
	objects map[plumbing.Hash]plumbing.EncodedObject
	bytes   int64
}

func newOverlay(disk *filesystem.Storage) *overlay {
	return &overlay{Storage: disk, objects: map[plumbing.Hash]plumbing.EncodedObject{}}
}

// SetEncodedObject keeps an object in memory, once there is room for it.
func (o *overlay) SetEncodedObject(obj plumbing.EncodedObject) (plumbing.Hash, error) {
	if obj.Size() > maxFetchBytes {
		return o.Storage.SetEncodedObject(obj) // a file of its own
	}
	hash := obj.Hash()
	if !o.fits(obj.Size()) {
		if err := o.flush(); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.objects[hash] = obj
	o.bytes += obj.Size()
	return hash, nil
}

func (o *overlay) fits(size int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes+size <= maxFetchBytes
}

// EncodedObject returns an object from memory or from disk.
func (o *overlay) EncodedObject(kind plumbing.ObjectType, h plumbing.Hash) (plumbing.EncodedObject, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
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
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.objects[h]; ok {
		return nil
	}
	return o.Storage.HasEncodedObject(h)
}

// EncodedObjectSize returns the size of an object.
func (o *overlay) EncodedObjectSize(h plumbing.Hash) (int64, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if obj, ok := o.objects[h]; ok {
		return obj.Size(), nil
	}
	return o.Storage.EncodedObjectSize(h)
}

// PackfileWriter takes a pack, which is there once the writer is closed.
func (o *overlay) PackfileWriter() (io.WriteCloser, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w, err := o.Storage.PackfileWriter()
	if err != nil {
		return nil, err
	}
	return packWriter{w, o}, nil
}

type packWriter struct {
	io.WriteCloser

	into *overlay
}

// Close implements io.Closer.
func (w packWriter) Close() error {
	w.into.mu.Lock()
	defer w.into.mu.Unlock()
	return w.WriteCloser.Close()
}

// add stores a pack as it is, of whose objects so many bytes may be held, as indexPack has it. Nobody waits while its
// index is made.
func (o *overlay) add(pack io.ReadSeeker, most int64) error {
	checksum, index, err := indexPack(pack, most)
	if err != nil {
		return err
	}
	if _, err := pack.Seek(0, io.SeekStart); err != nil {
		return err
	}
	// Only what has the name of a pack is looked at, so it has that once its index is there.
	name := path.Join("objects", "pack", "pack-"+checksum.String())
	if err := o.place(name+".new", func(w io.Writer) error {
		_, err := io.Copy(w, pack)
		return err
	}); err != nil {
		return err
	}
	if err := o.place(name+".idx", func(w io.Writer) error {
		_, err := idxfile.NewEncoder(w).Encode(index)
		return err
	}); err != nil {
		return err
	}
	if err := o.Filesystem().Rename(name+".new", name+".pack"); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.Reindex()
	return nil
}

// place writes a file of the store, which is there as a whole or not at all.
func (o *overlay) place(name string, write func(io.Writer) error) error {
	files := o.Filesystem()
	file, err := files.TempFile(path.Dir(name), "new-")
	if err != nil {
		return err
	}
	if err = errors.Join(write(file), file.Close()); err == nil {
		err = files.Rename(file.Name(), name)
	}
	if err != nil {
		_ = files.Remove(file.Name()) // scratch
	}
	return err
}

func (o *overlay) empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.objects) == 0
}

func (o *overlay) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ObjectStorage.Close()
}

// full says that it is time to flush.
func (o *overlay) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.objects) >= maxOverlay || o.bytes >= maxOverlayBytes
}

// flush writes what is in memory to disk, as one pack: a file for each object would
// cost more than the fetch.
func (o *overlay) flush() (err error) {
	o.mu.Lock()
	hashes := slices.Collect(maps.Keys(o.objects))
	o.mu.Unlock()
	if len(hashes) == 0 {
		return nil
	}
	pack, err := o.PackfileWriter()
	if err != nil {
		return fmt.Errorf("write pack: %w", err)
	}
	_, err = packfile.NewEncoder(pack, o, false).Encode(hashes, 0)
	if err = errors.Join(err, pack.Close()); err != nil {
		return fmt.Errorf("write pack of %d objects: %w", len(hashes), err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.objects) // only who writes adds any, and flushes
	o.bytes = 0
	return nil
}
