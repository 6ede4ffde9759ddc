package guard_test

import (
	"go/ast"
	"path"
	"regexp"
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
