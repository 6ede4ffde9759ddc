package fetcher_test

import (
	"strings"
	"testing"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

func submodules(t *testing.T, w *world) {
	private := gittest.ServeHTTP(t, w.root, false, gittest.Basic("user", "secret-pass"))
	watch, shown := gittest.Watch()
	stranger := gittest.ServeHTTP(t, w.root, false, watch)
	shell := gittest.ServeSSH(t, w.root, "")
	gittest.NewRepo(t, w.root, "sub-leaf").Commit("main", "leaf", map[string]string{"leaf.yaml": "leaf"})
	middle := gittest.NewRepo(t, w.root, "sub-middle")
	middle.Commit("main", "middle", map[string]string{"middle.yaml": "old"})
	middle.AddSubmodule("../sub-leaf", "nested/leaf")
	middle.Git("-C", middle.Dir(), "config", "uploadpack.allowReachableSHA1InWant", "true") // as the large hosts do
	middle.Commit("main", "with leaf", nil)
	top := gittest.NewRepo(t, w.root, "sub-top")
	top.Commit("main", "top", map[string]string{"top.yaml": "top"})
	top.AddSubmodule("../sub-middle", "mods/middle")
	top.AddSubmodule(stranger.URL+"/sub-leaf", "mods/other-host")
	top.AddSubmodule("../sub-leaf", "twice")
	sha := top.Commit("main", "with submodules", nil)
	middle.Commit("main", "newer than what is pinned", map[string]string{"middle.yaml": "new"})

	http := w.secret("sub-http", map[string]string{"username": "user", "password": "secret-pass"})
	obj := w.create("sub-http", sourcev1.GitRepositorySpec{URL: private.URL + "/sub-top", Reference: branch("main"), SecretRef: http, RecurseSubmodules: true})
	obj = w.await("the artifact", obj.Name, at("main@sha1:"+sha))
	want := map[string]string{
		"top.yaml": "top", "twice/": "", "twice/leaf.yaml": "leaf", "mods/": "", "mods/other-host/": "", "mods/other-host/leaf.yaml": "leaf",
		"mods/middle/": "", "mods/middle/middle.yaml": "old", "mods/middle/nested/": "", "mods/middle/nested/leaf/": "", "mods/middle/nested/leaf/leaf.yaml": "leaf",
	}
	w.expect(obj, want)
	if !obj.Status.ObservedRecurseSubmodules {
		t.Error("observedRecurseSubmodules is not set")
	}
	if found := shown(); len(found) == 0 || strings.Join(found, "") != "" {
		t.Errorf("another host was asked %d times and shown %q", len(found), found)
	}
	w.edit(obj, func(s *sourcev1.GitRepositorySpec) { s.RecurseSubmodules = false })
	obj = w.await("no submodules", obj.Name, func(o *sourcev1.GitRepository) bool { return ready(o) && !o.Status.ObservedRecurseSubmodules })
	w.expect(obj, map[string]string{"top.yaml": "top", "twice/": "", "mods/": "", "mods/other-host/": "", "mods/middle/": ""})

	key := w.secret("sub-ssh", map[string]string{"identity": string(shell.Identity), "known_hosts": string(shell.KnownHosts)})
	w.create("sub-ssh", sourcev1.GitRepositorySpec{URL: shell.URL + "/sub-top", Reference: branch("main"), SecretRef: key, RecurseSubmodules: true})
	w.expect(w.await("over SSH", "sub-ssh", at("main@sha1:"+sha)), want)

	for name, c := range map[string]struct{ url, message string }{
		"sub-local":   {"/etc", `submodule "sub": `},
		"sub-file":    {"file:///etc", `URL scheme "file" is not supported`},
		"sub-option":  {"ssh://-oProxyCommand=x/y", "the host begins with '-'"},
		"sub-ext":     {"ext::sh -c id", "submodule"},
		"sub-missing": {w.http.URL + "/none", "repository not found"},
	} {
		repo := gittest.NewRepo(t, w.root, name)
		repo.Commit("main", "one", map[string]string{"a": "1"})
		repo.AddSubmodule(w.http.URL+"/sub-leaf", "sub")
		repo.Git("config", "--file", ".gitmodules", "submodule.sub.url", c.url)
		repo.Commit("main", "two", nil)
		w.create(name, sourcev1.GitRepositorySpec{URL: w.http.URL + "/" + name, Reference: branch("main"), RecurseSubmodules: true})
		w.await(name, name, broken("FetchFailed", "GitOperationFailed", c.message))
	}
	endless := gittest.NewRepo(t, w.root, "sub-endless")
	endless.Commit("main", "0", map[string]string{"a": "1"})
	endless.AddSubmodule(w.http.URL+"/sub-endless", "again")
	for range 12 { // each commit pins the one before
		endless.Pin("again", endless.Commit("main", "deeper", nil))
	}
	endless.Commit("main", "deepest", nil)
	w.create("sub-endless", sourcev1.GitRepositorySpec{URL: w.http.URL + "/sub-endless", Reference: branch("main"), RecurseSubmodules: true})
	w.await("the bound", "sub-endless", broken("FetchFailed", "GitOperationFailed", "submodules are nested deeper than 10"))
}
