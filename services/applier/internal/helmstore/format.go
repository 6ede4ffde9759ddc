package helmstore

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"helm.sh/helm/v3/pkg/release"
)

// The bounds of all revisions that are read at once: bytes when unpacked, and values. One value takes three bytes to write
// and some hundred to keep.
const (
	maxUnpacked = 64 << 20
	maxValues   = 1 << 19
)

// budget is what may still be unpacked.
type budget struct{ bytes, values int }

func (b *budget) take(body []byte) error {
	b.bytes -= len(body)
	b.values -= values(body)
	if b.bytes < 0 || b.values < 0 {
		return fmt.Errorf("%w: unpacked, its revisions have more than %d bytes or %d values; delete the Secrets of those that nobody needs, or make the chart smaller",
			ErrTooMuch, maxUnpacked, maxValues)
	}
	return nil
}

// values counts the values in JSON, not exactly: the signs that begin or part them outside of texts.
func values(body []byte) int {
	n, quoted, escaped := 0, false, false
	for _, c := range body {
		switch {
		case escaped:
			escaped = false
		case c == '\\' && quoted:
			escaped = true
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == '{' || c == '['):
			n++
		}
	}
	return n
}

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

// unpack reads what pack or Helm wrote; the oldest releases are not compressed.
func unpack(data []byte, left *budget) (*Record, error) {
	body, err := base64.StdEncoding.DecodeString(string(data))
	if err != nil {
		return nil, fmt.Errorf("it holds no release: %w", err)
	}
	if bytes.HasPrefix(body, gzipMagic) {
		large, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, fmt.Errorf("it holds no release: %w", err)
		}
		if body, err = io.ReadAll(io.LimitReader(large, int64(left.bytes)+1)); err != nil {
			return nil, fmt.Errorf("it holds no release: %w", err)
		}
	}
	if err := left.take(body); err != nil {
		return nil, err
	}
	s := stored{Release: &release.Release{}}
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, fmt.Errorf("it holds no release: %w", err)
	}
	if s.Info == nil || s.Name == "" || s.Version == 0 {
		return nil, errors.New("it holds no release: name, version or info is missing")
	}
	return &Record{Release: s.Release, ApplyMethod: s.ApplyMethod}, nil
}
