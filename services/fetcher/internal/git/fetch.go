package git

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/spool"
)

// errBroken says that a mirror lacks objects that it should have.
var errBroken = errors.New("mirror is broken")

// Fetch opens a commit, after it has brought what the mirror lacks of it. The
// mirror stays locked until the commit is closed. A broken mirror is deleted
// and fetched anew.
func (l *Listing) Fetch(ctx context.Context, target Target) (*Commit, error) {
	commit, err := l.fetch(ctx, target)
	l.client.heed(l.remote, err, time.Now())
	return commit, l.remote.clean(err)
}

func (l *Listing) fetch(ctx context.Context, target Target) (*Commit, error) {
	m, err := l.client.lock(ctx, l.remote, target.history)
	if err != nil {
		return nil, err
	}
	commit, err := l.fetchInto(ctx, m, target)
	if errors.Is(err, errBroken) && ctx.Err() == nil {
		if err = m.wipe(); err == nil {
			commit, err = l.fetchInto(ctx, m, target)
		}
	}
	if err != nil {
		m.unlock()
		l.client.listings.Forget(l.remote.identity()) // it may be what was wrong
		return nil, err
	}
	commit.mirror, commit.client, commit.remote = m, l.client, l.remote
	return commit, nil
}

func (l *Listing) fetchInto(ctx context.Context, m *mirror, target Target) (*Commit, error) {
	if err := m.open(); err != nil {
		return nil, err
	}
	if !m.has(target.tips) || !m.hasObject(target.tagged) {
		if err := l.download(ctx, m, target); err != nil {
			return nil, err
		}
	}
	if target.history {
		if err := m.reachable(ctx, target); err != nil {
			return nil, err
		}
	}
	commit, err := openCommit(m.store, plumbing.NewHash(target.Commit))
	if err == nil && target.tag != "" {
		commit.Tag, err = openTag(m.store, target)
	}
	return commit, err
}

// reachable checks that the wanted commit is in the history of the tips.
func (m *mirror) reachable(ctx context.Context, target Target) error {
	want := plumbing.NewHash(target.Commit)
	seen := map[plumbing.Hash]bool{}
	queue := slices.Clone(target.tips)
	for len(queue) > 0 {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		next := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if next == want {
			return nil
		}
		if seen[next] {
			continue
		}
		seen[next] = true
		commit, err := object.GetCommit(m.store, next)
		if err != nil {
			return fmt.Errorf("%w: read commit %s: %w", errBroken, next, err)
		}
		queue = append(queue, commit.ParentHashes...)
	}
	return fmt.Errorf("commit %s is not in the history of what the reference names", target.Commit)
}

// download brings the wanted commits into the mirror: all of their history, or
// their trees alone.
func (l *Listing) download(ctx context.Context, m *mirror, target Target) error {
	if m.crowded() {
		if err := m.wipe(); err != nil {
			return err
		}
		if err := m.open(); err != nil {
			return err
		}
	}
	if l.used {
		if err := errors.Join(l.Close(), l.open(ctx)); err != nil {
			return err
		}
	}
	l.used = !l.conn.lasting()
	req, err := uploadRequest(l.refs.Capabilities, target, m.tips)
	if err != nil {
		return err
	}
	res, err := l.conn.upload(ctx, req)
	if err != nil {
		return fmt.Errorf("unable to fetch %s: %w", target.Revision, orContext(ctx, err))
	}
	defer func() { _ = res.Close() }() // it was only read
	if err := m.keepPack(ctx, demultiplex(req, res), l.client.config.MaxPackBytes, len(req.Haves) > 0); err != nil {
		return fmt.Errorf("unable to fetch %s: %w", target.Revision, orContext(ctx, err))
	}
	return m.record(target.tips)
}

// uploadRequest asks for the target's commits. A shallow fetch sets depth 1 anew
// each time and names the commits already here, so that the server sends the
// one commit and, as a thin pack, only what its tree adds, whatever the history
// between the two is.
func uploadRequest(offered *capability.List, target Target, have []plumbing.Hash) (*packp.UploadPackRequest, error) {
	req := packp.NewUploadPackRequestFromCapabilities(offered)
	req.Capabilities.Delete(capability.MultiACK)
	req.Capabilities.Delete(capability.MultiACKDetailed)
	if len(have) == 0 || target.history {
		req.Capabilities.Delete(capability.ThinPack)
	}
	set := []capability.Capability{}
	if offered.Supports(capability.NoProgress) {
		set = append(set, capability.NoProgress)
	}
	req.Wants, req.Haves = slices.Clone(target.wants), slices.Clone(have)
	if !target.history {
		if !offered.Supports(capability.Shallow) {
			return nil, errors.New("the server cannot send a single commit (no shallow capability)")
		}
		set = append(set, capability.Shallow)
		req.Depth = packp.DepthCommits(1)
		req.Shallows = slices.Clone(have)
	}
	for _, c := range set {
		if err := req.Capabilities.Set(c); err != nil {
			return nil, fmt.Errorf("ask for %s: %w", c, err)
		}
	}
	return req, nil
}

func demultiplex(req *packp.UploadPackRequest, res io.Reader) io.Reader {
	switch {
	case req.Capabilities.Supports(capability.Sideband64k):
		return sideband.NewDemuxer(sideband.Sideband64k, res)
	case req.Capabilities.Supports(capability.Sideband):
		return sideband.NewDemuxer(sideband.Sideband, res)
	}
	return res
}

// keepPack adds a pack to the mirror, once it is here as a whole: a broken transfer
// leaves nothing behind. A first pack is stored as it is, a thin one object by object.
func (m *mirror) keepPack(ctx context.Context, pack io.Reader, limit int64, thin bool) (err error) {
	spooled := spool.New(m.dir)
	defer func() { err = errors.Join(err, spooled.Close()) }()
	n, err := io.Copy(spooled, io.LimitReader(pack, limit+1))
	if err != nil {
		return fmt.Errorf("receive pack: %w", err)
	}
	if n > limit {
		return fmt.Errorf("receive pack: more than %d bytes: %w", limit, ErrLimit)
	}
	content, err := spooled.Content()
	if err != nil {
		return err
	}
	var header [12]byte
	if _, err := io.ReadFull(content, header[:]); err != nil || string(header[:4]) != "PACK" {
		return fmt.Errorf("receive pack: got %d bytes that are no pack", n)
	}
	objects := binary.BigEndian.Uint32(header[8:])
	if objects == 0 {
		return nil
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read pack: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !thin {
		return wrapStore(packfile.WritePackfileToObjectStorage(m.store, content))
	}
	parser, err := packfile.NewParserWithStorage(packfile.NewScanner(content), m.store)
	if err != nil {
		return wrapStore(err)
	}
	_, err = parser.Parse()
	return wrapStore(err)
}

func wrapStore(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, packfile.ErrReferenceDeltaNotFound), errors.Is(err, plumbing.ErrObjectNotFound):
		return fmt.Errorf("%w: store pack: %w", errBroken, err)
	}
	return fmt.Errorf("store pack: %w", err)
}
