package helmstore

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/release"

	"github.com/sluice-gitops/sluice/internal/render"
)

// maxUnpacked bounds what all revisions that are read of a release weigh (render.Weight): three that are as large as
// a Secret can hold have room. maxUnpacking bounds the same for all that are being unpacked in this process.
const (
	maxUnpacked  = 48 << 20
	maxUnpacking = maxUnpacked + 16<<20
)

// unpacking is what the process has left of maxUnpacking.
var unpacking = semaphore.NewWeighted(maxUnpacking)

// errRoom says that a revision weighs more than there is room for.
var errRoom = errors.New("it has no room")

var gzipMagic = []byte{0x1f, 0x8b, 0x08}

// stored is a release as it is written. What Helm 3 does not know it leaves out.
type stored struct {
	*release.Release
	ApplyMethod string `json:"apply_method,omitempty"`
}

// compressors are used again: each holds nearly a megabyte.
var compressors = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestCompression)
	if err != nil { // never: the level is one
		w = gzip.NewWriter(nil)
	}
	return w
}}

// pack writes a release as Helm does: JSON, gzip, base64.
func pack(r *Record) ([]byte, error) {
	body, err := json.Marshal(stored{Release: r.Release, ApplyMethod: r.ApplyMethod})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	text := base64.NewEncoder(base64.StdEncoding, &out)
	small := compressors.Get().(*gzip.Writer)
	defer compressors.Put(small)
	small.Reset(text)
	if _, err := small.Write(body); err != nil {
		return nil, err
	}
	if err := errors.Join(small.Close(), text.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// unpackIn unpacks a revision when the process has room for what one of its size mostly weighs or, when this is not enough,
// for all that is left, of which it takes what the revision weighs.
func unpackIn(ctx context.Context, data []byte, left *int) (*Record, error) {
	for _, room := range slices.Compact([]int{min(*left, 32*len(data)+1<<18), *left}) {
		if err := unpacking.Acquire(ctx, int64(room)); err != nil {
			return nil, err
		}
		r, weight, err := unpack(data, room)
		unpacking.Release(int64(room))
		if !errors.Is(err, errRoom) {
			*left -= weight
			return r, err
		}
	}
	return nil, errRoom
}

// unpack reads what pack or Helm wrote, if there is room for it; the oldest releases are not compressed.
func unpack(data []byte, room int) (r *Record, weight int, err error) {
	body, err := base64.StdEncoding.DecodeString(string(data))
	if err != nil {
		return nil, 0, fmt.Errorf("it holds no release: %w", err)
	}
	if bytes.HasPrefix(body, gzipMagic) {
		if body, err = inflate(body, room); err != nil {
			return nil, 0, fmt.Errorf("it holds no release: %w", err)
		}
	}
	if weight = render.Weight(body); weight > room {
		return nil, 0, errRoom
	}
	s := stored{Release: &release.Release{}}
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, weight, fmt.Errorf("it holds no release: %w", err)
	}
	if s.Info == nil || s.Name == "" || s.Version == 0 {
		return nil, weight, errors.New("it holds no release: name, version or info is missing")
	}
	fill(s.Release)
	return &Record{Release: s.Release, ApplyMethod: s.ApplyMethod}, weight, nil
}

// fill gives a release what others may have left out, as the helm command puts up with it: a chart without a name, and no
// hooks that are nothing.
func fill(r *release.Release) {
	if r.Chart == nil {
		r.Chart = &chart.Chart{}
	}
	if r.Chart.Metadata == nil {
		r.Chart.Metadata = &chart.Metadata{}
	}
	r.Hooks = slices.DeleteFunc(r.Hooks, func(h *release.Hook) bool { return h == nil })
}

// inflate unpacks no more than a byte beyond room, into memory of the size that the last four bytes tell.
func inflate(body []byte, room int) ([]byte, error) {
	large, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	told := uint64(binary.LittleEndian.Uint32(body[len(body)-4:]))
	out := bytes.NewBuffer(make([]byte, 0, min(told, uint64(room))+bytes.MinRead))
	if _, err := out.ReadFrom(io.LimitReader(large, int64(room)+1)); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
