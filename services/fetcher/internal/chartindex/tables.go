package chartindex

import (
	"slices"
	"sync"
)

// Tables keeps the indexes that were used last, by their digest. It is safe for
// concurrent use.
type Tables struct {
	// max is how many bytes are kept, all indexes together.
	max int

	mu       sync.Mutex
	byDigest map[string]*Index
	// order has the digests, the one used last at the end.
	order []string
	bytes int
}

// NewTables returns a cache of about so many bytes at most; each version takes about 200.
func NewTables(bytes int) *Tables {
	return &Tables{max: bytes, byDigest: map[string]*Index{}}
}

// Get returns the index with a digest, nil when it is not kept.
func (t *Tables) Get(digest string) *Index {
	t.mu.Lock()
	defer t.mu.Unlock()
	index := t.byDigest[digest]
	if index != nil {
		t.use(digest)
	}
	return index
}

// Put keeps an index, and lets go of those used longest ago. One that is larger than
// the whole cache stays, alone.
func (t *Tables) Put(digest string, index *Index) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byDigest[digest] == nil {
		t.byDigest[digest] = index
		t.bytes += index.size()
	}
	t.use(digest)
	for t.bytes > t.max && len(t.order) > 1 {
		t.bytes -= t.byDigest[t.order[0]].size()
		delete(t.byDigest, t.order[0])
		t.order = t.order[1:]
	}
}

func (t *Tables) use(digest string) {
	if n := slices.Index(t.order, digest); n >= 0 {
		t.order = slices.Delete(t.order, n, n+1)
	}
	t.order = append(t.order, digest)
}

// fixed is what a chart or a version takes beside its texts.
const fixed = 100

func (i *Index) size() int {
	n := 0
	for name, versions := range i.charts {
		n += fixed + len(name)
		for _, v := range versions {
			n += fixed + len(v.Version) + len(v.URL) + len(v.Digest)
		}
	}
	return n
}
