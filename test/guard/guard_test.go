package guard_test

import (
	"go/ast"
	"path"
	"regexp"
	"strings"
	"testing"
)

func TestEveryPackageIsDocumented(t *testing.T) {
	r := open(t)
	documented := map[string]bool{}
	for _, file := range r.goFiles(t) {
		if file.test {
			continue
		}
		documented[file.pkg] = documented[file.pkg] || file.Doc.Text() != ""
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no doc comment", pkg)
		}
	}
}

// module returns which part of the house a path below the root belongs to.
func module(name string) string {
	parts := strings.Split(name, "/")
	if parts[0] == "services" || parts[0] == "cmd" {
		return path.Join(parts[:min(len(parts), 2)]...)
	}
	return parts[0]
}

// mayImport is the rule of ARCHITECTURE.md: events, internal, services, cmd, in
// this order; deploy is data for all but events; test is for tests and for itself.
func mayImport(from, to string, test bool) bool {
	if from == to {
		return true
	}
	switch from {
	case "events", "deploy", "tools":
		return false
	case "test":
		return to == "events" || to == "internal" || to == "deploy"
	}
	if to == "test" {
		return test
	}
	if to == "events" || to == "deploy" {
		return true
	}
	if from == "internal" {
		return false
	}
	if strings.HasPrefix(from, "services/") {
		return to == "internal"
	}
	return from == "cmd/sluice"
}

func TestImportsPointOneWay(t *testing.T) {
	for _, file := range open(t).goFiles(t) {
		for _, imported := range file.imports() {
			to, ours := strings.CutPrefix(imported, home)
			if ours && !mayImport(module(file.name), module(to), file.test) {
				t.Errorf("%s imports %s: %s may not import %s", file.name, to, module(file.name), module(to))
			}
		}
	}
}

// adapters know one system of the outside each, and neither events nor the bus.
func adapters() []string {
	return []string{
		"services/fetcher/internal/git", "services/fetcher/internal/pack",
		"services/builder/internal/fast", "services/builder/internal/kustomize",
		"services/builder/internal/sandbox", "services/builder/internal/substitute",
		"services/applier/internal/engine", "services/applier/internal/livestate", "services/applier/internal/inventory",
		"services/applier/internal/health", "services/webhook/internal/provider",
	}
}

func TestAdaptersKnowNoEvents(t *testing.T) {
	seen := map[string]bool{}
	for _, file := range open(t).goFiles(t) {
		for _, adapter := range adapters() {
			if file.pkg != adapter && !strings.HasPrefix(file.pkg, adapter+"/") {
				continue
			}
			seen[adapter] = true
			for _, imported := range file.imports() {
				if to := strings.TrimPrefix(imported, home); to == "events" || to == "internal/bus" || strings.HasPrefix(to, "internal/bus/") {
					t.Errorf("%s imports %s: adapters know neither events nor the bus", file.name, to)
				}
			}
		}
	}
	for _, adapter := range adapters() {
		if !seen[adapter] {
			t.Errorf("adapter %s is not there: correct this list", adapter)
		}
	}
}

func TestNoHiddenStart(t *testing.T) {
	for _, file := range open(t).goFiles(t) {
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function: construct in main instead", file.name)
			}
		}
	}
}

func TestTestsWaitOnConditions(t *testing.T) {
	for _, file := range open(t).goFiles(t) {
		if !file.test {
			continue
		}
		ast.Inspect(file.File, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, isName := call.X.(*ast.Ident); isName && x.Name == "time" && call.Sel.Name == "Sleep" {
				t.Errorf("%s sleeps: wait on a condition instead", file.name)
			}
			if call.Sel.Name == "Skip" || call.Sel.Name == "Skipf" || call.Sel.Name == "SkipNow" {
				t.Errorf("%s skips a test: make it run or remove it", file.name)
			}
			return true
		})
	}
}

// unfit is text that belongs into no file: places of one machine, and promises.
func unfit(root string) map[string]*regexp.Regexp {
	return map[string]*regexp.Regexp{
		"the place of somebody's checkout": regexp.MustCompile(regexp.QuoteMeta(root) + `\b`),
		"a home folder":                    regexp.MustCompile(`(^|[\s"'=(:])/(root|home|Users)/[A-Za-z0-9._-]+`),
		"a promise":                        regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX|HA` + `CK)\b`),
		"a conflict marker":                regexp.MustCompile(`(?m)^(<{7}|>{7}) `),
	}
}

func TestNothingUnfitIsCommitted(t *testing.T) {
	r := open(t)
	for _, name := range r.files {
		content := r.read(t, name)
		switch {
		case !isText(content):
			t.Errorf("%s is not text: no binaries in git", name)
		case path.Base(name) == "go.sum" || path.Base(name) == "go.work.sum":
		default:
			for what, pattern := range unfit(r.root) {
				if found := pattern.Find(content); found != nil {
					t.Errorf("%s holds %s: %q", name, what, found)
				}
			}
		}
	}
}
