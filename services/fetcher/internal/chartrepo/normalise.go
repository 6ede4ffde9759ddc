package chartrepo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartindex"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/spool"
)

// smallIndex is the size up to which an index waits for no other.
const smallIndex = 1 << 20

// normalise makes an index of what was read.
func (c *Client) normalise(ctx context.Context, raw *spool.Spool, namespace string) (_ *read, err error) {
	content, err := raw.Content()
	if err != nil {
		return nil, err
	}
	length, err := size(content)
	if err != nil {
		return nil, err
	}
	if length > smallIndex {
		if err := c.normalising.Enter(ctx, namespace); err != nil {
			return nil, fmt.Errorf("wait for other indexes: %w", err)
		}
		defer c.normalising.Leave(namespace)
	}
	data, err := io.ReadAll(content)
	if err != nil {
		return nil, fmt.Errorf("read scratch file: %w", err)
	}
	out, hash := spool.OnDisk(c.config.Scratch), sha256.New()
	defer func() {
		if err != nil {
			drop(out)
		}
	}()
	table, err := chartindex.Normalise(ctx, data, io.MultiWriter(out, hash))
	if ctx.Err() != nil {
		return nil, fmt.Errorf("read index: %w", context.Cause(ctx))
	}
	if err != nil {
		return nil, &LoadError{Err: err}
	}
	index := &read{revision: "sha256:" + hex.EncodeToString(hash.Sum(nil)), content: out}
	written, err := out.Content()
	if err != nil {
		return nil, err
	}
	if index.size, err = size(written); err != nil {
		return nil, err
	}
	c.config.Tables.Put(index.revision, table)
	return index, nil
}

// size rewinds what it measures.
func size(s io.Seeker) (int64, error) {
	n, err := s.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = s.Seek(0, io.SeekStart)
	}
	if err != nil {
		return 0, fmt.Errorf("measure index: %w", err)
	}
	return n, nil
}
