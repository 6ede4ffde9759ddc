package git

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// Listing is the remote's references at one moment, and the connection they came
// over. The caller closes it.
type Listing struct {
	client *Client
	remote Remote
	// refs may be shared with other listings; they are only read.
	refs *packp.AdvRefs
	// conn is nil when the references came over a connection that others cannot use.
	conn conn
	// used says that conn, if there is one, has no further request left.
	used bool
}

// advertised is what those who list the same repository share.
type advertised struct {
	refs *packp.AdvRefs
	// conn is nil unless it takes any number of requests.
	conn conn
}

// Target is a commit that a reference stands for.
type Target struct {
	// Revision names reference and commit: main@sha1:<commit>, or sha1:<commit>.
	Revision string
	// Commit is the commit's hash in hex.
	Commit string
	// wants are the advertised objects to ask for, tips the commits they lead to.
	wants, tips []plumbing.Hash
	// history says that the commit is somewhere below the tips.
	history bool
	// tag is the name of the tag that the reference stands for, empty if for none;
	// tagged is its annotation, zero if it has none.
	tag    string
	tagged plumbing.Hash
}

// Connect lists the references of a remote repository with one request, which those
// share who ask with the same credentials at the same time, or for whom it is young enough
// (flight.Since). A server that wants no request gets none: that is a *transport.BusyError.
func (c *Client) Connect(ctx context.Context, remote Remote) (*Listing, error) {
	l := &Listing{client: c, remote: remote}
	answer, err := c.listings.Do(ctx, remote.identity(), func() (advertised, error) {
		err := l.open(ctx)
		if err != nil || !l.conn.lasting() {
			return advertised{refs: l.refs}, err
		}
		return advertised{refs: l.refs, conn: l.conn}, nil
	})
	if err != nil {
		return nil, remote.clean(err)
	}
	defer answer.Close()
	if !answer.Own {
		l.refs, l.conn = answer.Value.refs, answer.Value.conn
		l.used = l.conn == nil
	}
	return l, nil
}

func (l *Listing) open(ctx context.Context) error {
	u, err := ParseURL(l.remote.URL)
	if err != nil {
		return err
	}
	if u.Scheme == "ssh" {
		opened, err := dialSSH(ctx, l.remote, l.client.config)
		if err != nil {
			return err
		}
		l.conn = opened
	} else if l.conn, err = dialHTTP(l.remote, l.client); err != nil {
		return err
	}
	if l.refs, err = l.conn.advertised(ctx); err != nil {
		_ = l.conn.close() // the first error says why
		return err
	}
	return nil
}

// Close ends the connection.
func (l *Listing) Close() error {
	if l.conn == nil {
		return nil
	}
	return l.conn.close()
}

// Resolve finds the commit that a reference stands for. It needs the network
// only to tell tags of the same semantic version apart by their commits' age.
func (l *Listing) Resolve(ctx context.Context, ref Reference) (Target, error) {
	target, err := l.resolve(ctx, ref)
	return target, l.remote.clean(err)
}

func (l *Listing) resolve(ctx context.Context, ref Reference) (Target, error) {
	switch {
	case ref.Commit != "":
		return l.commit(ref)
	case ref.Name != "":
		return l.named(ref.Name, ref.Name)
	case ref.Tag != "":
		return l.named("refs/tags/"+ref.Tag, ref.Tag)
	case ref.SemVer != "":
		return l.semver(ctx, ref.SemVer)
	case ref.Branch != "":
		return l.named("refs/heads/"+ref.Branch, ref.Branch)
	}
	target, err := l.named("refs/heads/master", "master")
	if err != nil {
		err = fmt.Errorf("%w, which stands for no reference at all: name one in spec.ref", err)
	}
	return target, err
}

// tagPrefix is where references to tags are.
const tagPrefix = "refs/tags/"

// named resolves a full reference name; short is how the revision shows it.
func (l *Listing) named(full, short string) (Target, error) {
	want, ok := l.refs.References[full]
	if !ok && full == "HEAD" && l.refs.Head != nil {
		want, ok = *l.refs.Head, true
	}
	if !ok {
		return Target{}, fmt.Errorf("couldn't find remote ref %q", full)
	}
	t := Target{wants: []plumbing.Hash{want}}
	if tag, ok := strings.CutPrefix(full, tagPrefix); ok {
		t.tag = tag
	}
	commit := want
	if peeled, annotated := l.refs.Peeled[full]; annotated {
		commit, t.tagged = peeled, want
	}
	t.Revision, t.Commit, t.tips = short+"@sha1:"+commit.String(), commit.String(), []plumbing.Hash{commit}
	return t, nil
}

// commit resolves a hash, which must be reachable from the branch that is named
// beside it, or from any branch.
func (l *Listing) commit(ref Reference) (Target, error) {
	if !plumbing.IsHash(ref.Commit) {
		return Target{}, fmt.Errorf("commit %q is not a full hash of 40 hex digits", ref.Commit)
	}
	hash := strings.ToLower(ref.Commit)
	if ref.Branch != "" {
		t, err := l.named("refs/heads/"+ref.Branch, ref.Branch)
		t.Revision, t.Commit, t.history = ref.Branch+"@sha1:"+hash, hash, true
		return t, err
	}
	t := Target{Revision: "sha1:" + hash, Commit: hash, history: true}
	for name, tip := range l.refs.References {
		if strings.HasPrefix(name, "refs/heads/") {
			t.wants = append(t.wants, tip)
		}
	}
	plumbing.HashesSort(t.wants)
	t.tips = t.wants
	return t, nil
}
