package cloudtest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Bucket is what a storage server holds under one name.
type Bucket struct {
	// Elsewhere is where requests are sent on to; they are answered when it is empty.
	Elsewhere string

	mu      sync.Mutex
	objects map[string]stored
	written int64
	hidden  string
}

type stored struct {
	key, content string
	// generation counts the writes of the bucket.
	generation int64
}

// etag is as servers make it, without quotes.
func (s stored) etag() string { return fmt.Sprintf("0x%08X", s.generation) }

// Put writes objects.
func (b *Bucket) Put(objects map[string]string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.objects == nil {
		b.objects = map[string]stored{}
	}
	for key, content := range objects {
		b.written++
		b.objects[key] = stored{key: key, content: content, generation: b.written}
	}
}

// Hide makes the server say that an object is none, though it is listed.
func (b *Bucket) Hide(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hidden = key
}

// page returns some objects from a key on, and the key that the next page begins with.
func (b *Bucket) page(prefix, from string) (found []stored, next string) {
	const most = 2 // so that every test has more than one page
	b.mu.Lock()
	defer b.mu.Unlock()
	var keys []string
	for key := range b.objects {
		if strings.HasPrefix(key, prefix) && key >= from {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		if len(found) == most {
			return found, key
		}
		found = append(found, b.objects[key])
	}
	return found, ""
}

func (b *Bucket) get(key string) (stored, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	found, ok := b.objects[key]
	return found, ok && key != b.hidden
}

// ETags returns what a listing shows of the objects.
func (b *Bucket) ETags() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string]string{}
	for key, s := range b.objects {
		all[key] = s.etag()
	}
	return all
}
