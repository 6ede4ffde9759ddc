package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
)

const (
	// maxSubmodules and maxSubmoduleDepth bound what one commit may bring in.
	maxSubmodules     = 100
	maxSubmoduleDepth = 10
	// modulesFile names the submodules' repositories; maxModules bounds its size.
	modulesFile = ".gitmodules"
	maxModules  = 1 << 20
)

// Recurse adds to files of the commit, as Files returns them, those of its
// submodules, and of theirs. A submodule that .gitmodules does not name stays an
// empty folder. More than limit entries, more than 100 submodules, or more than 10
// within each other are an error.
//
// Submodules are read with the commit's own SSH identity; a password, token or client
// certificate goes only to the host that it is for. Before a submodule is read ask is called, with the URL of it; an
// error of it ends the recursion.
func (c *Commit) Recurse(ctx context.Context, files []File, limit int, ask func(url string) error) ([]File, error) {
	r := recursion{root: c.remote, limit: limit, left: maxSubmodules, ask: ask}
	return r.expand(ctx, c, files, 0)
}

type recursion struct {
	// root is the repository that the credentials are for.
	root  Remote
	limit int
	left  int
	ask   func(url string) error
}

func (r *recursion) expand(ctx context.Context, c *Commit, files []File, depth int) ([]File, error) {
	var all []File
	var urls map[string]string
	for _, f := range files {
		all = append(all, f)
		if f.Submodule == "" {
			continue
		}
		if urls == nil {
			var err error
			if urls, err = c.modules(); err != nil {
				return nil, err
			}
		}
		if urls[f.Path] == "" {
			continue
		}
		inner, err := r.open(ctx, c, f, urls[f.Path], depth)
		if err != nil {
			return nil, fmt.Errorf("submodule %q: %w", f.Path, err)
		}
		for _, sub := range inner {
			sub.Path = f.Path + "/" + sub.Path
			all = append(all, sub)
		}
		if len(all) > r.limit {
			return nil, fmt.Errorf("repository and submodules have more than %d files and folders: %w", r.limit, ErrLimit)
		}
	}
	return all, nil
}

// open fetches the commit of one submodule and lists its files.
func (r *recursion) open(ctx context.Context, parent *Commit, f File, raw string, depth int) ([]File, error) {
	if r.left--; r.left < 0 {
		return nil, fmt.Errorf("there are more than %d submodules: %w", maxSubmodules, ErrLimit)
	}
	if depth >= maxSubmoduleDepth {
		return nil, fmt.Errorf("submodules are nested deeper than %d: %w", maxSubmoduleDepth, ErrLimit)
	}
	remote, err := r.remote(parent, raw)
	if err != nil {
		return nil, err
	}
	if err := r.ask(remote.URL); err != nil {
		return nil, err
	}
	commit, err := parent.client.pinned(ctx, remote, f.Submodule)
	if err != nil {
		return nil, err
	}
	parent.submodules = append(parent.submodules, commit)
	files, err := commit.Files(ctx, r.limit)
	if err != nil {
		return nil, err
	}
	return r.expand(ctx, commit, files, depth+1)
}

// remote says where a submodule is and what may be shown to it.
func (r *recursion) remote(parent *Commit, raw string) (Remote, error) {
	u, err := submoduleURL(parent.remote.URL, raw)
	if err != nil {
		return Remote{}, err
	}
	remote := Remote{Namespace: r.root.Namespace, Proxy: r.root.Proxy}
	home, err := ParseURL(r.root.URL)
	if err != nil {
		return Remote{}, err
	}
	switch {
	case origin(home) == origin(u):
		remote.Auth, remote.Scope = r.root.Auth, r.root.Scope
		if u.User == nil {
			u.User = home.User
		}
	case u.Scheme == "ssh":
		remote.Auth = Auth{Identity: r.root.Auth.Identity, Passphrase: r.root.Auth.Passphrase, KnownHosts: r.root.Auth.KnownHosts}
	default:
		remote.Auth = Auth{CA: r.root.Auth.CA}
	}
	remote.URL = u.String()
	return remote, nil
}

// submoduleURL resolves what .gitmodules says against the URL of the repository that
// says it.
func submoduleURL(base, raw string) (*url.URL, error) {
	if strings.HasPrefix(raw, "./") || strings.HasPrefix(raw, "../") {
		u, err := ParseURL(base)
		if err != nil {
			return nil, err
		}
		u.Path, u.RawPath = path.Join(u.Path, raw), ""
		raw = u.String()
	} else if host, rest, ok := strings.Cut(raw, ":"); ok && !strings.Contains(host, "/") && !strings.HasPrefix(rest, "//") {
		raw = "ssh://" + host + "/" + strings.TrimPrefix(rest, "/") // as scp has it
	}
	return ParseURL(raw)
}

// modules returns the URLs that .gitmodules gives to paths.
func (c *Commit) modules() (map[string]string, error) {
	tree, err := object.GetTree(c.store, c.tree)
	if err != nil {
		return nil, fmt.Errorf("%w: read tree of commit %s: %w", errBroken, c.Hash, err)
	}
	entry, err := tree.FindEntry(modulesFile)
	if errors.Is(err, object.ErrEntryNotFound) {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", modulesFile, err)
	}
	if entry.Mode != filemode.Regular && entry.Mode != filemode.Executable {
		return nil, fmt.Errorf("%s is no regular file", modulesFile)
	}
	size, content, err := File{Path: modulesFile, hash: entry.Hash, store: c.store}.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = content.Close() }() // it was only read
	if size > maxModules {
		return nil, fmt.Errorf("%s has more than %d bytes: %w", modulesFile, maxModules, ErrLimit)
	}
	body, err := io.ReadAll(content)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", modulesFile, err)
	}
	found := config.NewModules()
	if err := found.Unmarshal(body); err != nil {
		return nil, fmt.Errorf("parse %s: %w", modulesFile, err)
	}
	urls := map[string]string{}
	for _, m := range found.Submodules {
		urls[m.Path] = m.URL
	}
	return urls, nil
}

// pinned opens the commit with a hash, wherever the repository has it.
func (c *Client) pinned(ctx context.Context, remote Remote, hash string) (*Commit, error) {
	l, err := c.Connect(ctx, remote)
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }() // it was only read
	target, err := l.pin(hash)
	if err != nil {
		return nil, remote.clean(err)
	}
	return l.Fetch(ctx, target)
}

// pin asks for one commit alone where the server allows it, else for all history of
// all branches.
func (l *Listing) pin(hash string) (Target, error) {
	want := plumbing.NewHash(hash)
	exact := Target{Revision: "sha1:" + hash, Commit: hash, wants: []plumbing.Hash{want}, tips: []plumbing.Hash{want}}
	for _, tip := range l.refs.References {
		if tip == want {
			return exact, nil
		}
	}
	for _, c := range []capability.Capability{capability.AllowReachableSHA1InWant, "allow-any-sha1-in-want"} {
		if l.refs.Capabilities.Supports(c) {
			return exact, nil
		}
	}
	return l.commit(Reference{Commit: hash})
}
