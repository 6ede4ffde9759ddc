package guard_test

import (
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// named finds the tests that a page names, with the folder's letter and the case when it gives them.
var named = regexp.MustCompile(`(?:\bH/)?\b(Test[A-Z]\w*)(?:/([\w-]+))?`)

// TestNamedTestsExist has every test exist that the list of acceptance cases names, and every case of one in test/helm.
func TestNamedTestsExist(t *testing.T) {
	r := open(t)
	tests, helm := map[string]bool{}, ""
	for _, file := range r.goFiles(t) {
		if !file.test {
			continue
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				tests[f.Name.Name] = true
			}
		}
		if path.Dir(file.name) == "test/helm" {
			helm += string(r.read(t, file.name))
		}
	}
	found := named.FindAllStringSubmatch(string(r.read(t, "docs/compatibility.md")), -1)
	if len(found) < 50 {
		t.Fatalf("only %d tests are named", len(found))
	}
	for _, m := range found {
		if !tests[m[1]] {
			t.Errorf("%s is no test", m[0])
		}
		if strings.HasPrefix(m[0], "H/") && m[2] != "" && !strings.Contains(helm, `"`+m[2]+`"`) {
			t.Errorf("%s is no case", m[0])
		}
	}
}

// metric finds the names of metrics that are declared.
var metric = regexp.MustCompile(`Name:\s*"(sluice_\w+)"`)

// TestMetricsAreDocumented has the page of metrics name those that there are, and no others.
func TestMetricsAreDocumented(t *testing.T) {
	r := open(t)
	var declared, told []string
	for _, file := range r.goFiles(t) {
		if file.test {
			continue
		}
		for _, m := range metric.FindAllStringSubmatch(string(r.read(t, file.name)), -1) {
			declared = append(declared, m[1])
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(sluice_\\w+)`").FindAllStringSubmatch(string(r.read(t, "docs/metrics.md")), -1) {
		told = append(told, m[1])
	}
	slices.Sort(declared)
	slices.Sort(told)
	if len(declared) == 0 || !slices.Equal(declared, told) {
		t.Errorf("the page has %q, the code %q", told, declared)
	}
}
