package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/flight"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/spool"
)

// errBroken says that a mirror lacks objects that it should have.
var errBroken = errors.New("mirror is broken")

// Fetch opens a commit, after it has brought what the mirror lacks of it. The
// mirror stays until the commit is closed. A broken mirror is given up for another.
func (l *Listing) Fetch(ctx context.Context, target Target) (*Commit, error) {
	commit, err := l.fetch(ctx, target)
	return commit, l.remote.clean(err)
}

func (l *Listing) fetch(ctx context.Context, target Target) (*Commit, error) {
	m := l.client.use(l.remote, target.history)
	commit, err := l.fetchInto(ctx, m, target)
	if errors.Is(err, errBroken) && ctx.Err() == nil {
		err = l.client.abandon(m)
		l.client.done(m)
		m = l.client.use(l.remote, target.history)
		if err == nil {
			commit, err = l.fetchInto(ctx, m, target)
		}
	}
	if err != nil {
		l.client.done(m)
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
	if err := l.bring(ctx, m, target); err != nil {
		return nil, err
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

// downloaded is how a download into a mirror ended, and of which revision it was.
type downloaded struct {
	revision string
	err      error
}

// bring waits until the mirror holds a target, and downloads it if nobody else does. One at
// a time does, so that the next one says what came, and need not get it again.
func (l *Listing) bring(ctx context.Context, m *mirror, target Target) error {
	key, err := flight.KeyOf(m.dir)
	if err != nil {
		return err
	}
	for !m.holds(target) {
		answer, err := l.client.downloads.Do(flight.Since(ctx, time.Time{}), key, func() (downloaded, error) {
			if m.holds(target) { // since a moment
				return downloaded{revision: target.Revision}, nil
			}
			err := l.download(ctx, m, target)
			if ctx.Err() != nil {
				return downloaded{}, err
			}
			return downloaded{target.Revision, err}, nil
		})
		if err != nil {
			return err
		}
		if got := answer.Value; answer.Own || got.err != nil && got.revision == target.Revision {
			return got.err
		}
	}
	return nil
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
		return fmt.Errorf("%w: it holds too many packs", errBroken)
	}
	if l.used {
		if err := errors.Join(l.Close(), l.open(ctx)); err != nil {
			return err
		}
	}
	l.used = !l.conn.lasting()
	req, err := uploadRequest(l.refs.Capabilities, target, m.have())
	if err != nil {
		return err
	}
	res, err := l.conn.upload(ctx, req)
	if err != nil {
		return fmt.Errorf("unable to fetch %s: %w", target.Revision, orContext(ctx, err))
	}
	defer func() { _ = res.Close() }() // it was only read
	pack := spool.New(m.dir)
	defer func() { _ = pack.Close() }() // scratch
	if err := receive(pack, demultiplex(req, res), l.client.config.MaxPackBytes); err != nil {
		return fmt.Errorf("unable to fetch %s: %w", target.Revision, orContext(ctx, err))
	}
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	if err := m.keep(ctx, l.remote.Namespace, pack, len(req.Haves) > 0); err != nil {
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

// receive takes a pack as a whole, so that a broken transfer leaves nothing behind, and one
// that hangs keeps nobody from the mirror.
func receive(into *spool.Spool, pack io.Reader, limit int64) error {
	n, err := io.Copy(into, io.LimitReader(pack, limit+1))
	if err != nil {
		return fmt.Errorf("receive pack: %w", err)
	}
	if n > limit {
		return fmt.Errorf("receive pack: more than %d bytes: %w", limit, ErrLimit)
	}
	return nil
}
