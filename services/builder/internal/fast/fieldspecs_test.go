package fast

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write what kustomize's source says into fieldspecs.go")

// builtin is kustomize's own form of its built-in fields.
type builtin struct {
	NamePrefix, NameSuffix, Namespace, CommonLabels, TemplateLabels, VolumeClaimTemplateLabels types.FsSlice
	CommonAnnotations, Images, Replicas                                                        types.FsSlice
	NameReference                                                                              []struct {
		resid.Gvk
		FieldSpecs types.FsSlice
	}
}

// constants evaluates the text constants of the package in a folder.
func constants(t *testing.T, folder string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(folder, err)
	}
	exprs := map[string]ast.Expr{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
				exprs[spec.Names[0].Name] = spec.Values[0]
			}
			return true
		})
	}
	var text func(ast.Expr) string
	text = func(e ast.Expr) string {
		switch e := e.(type) {
		case *ast.BasicLit:
			s, err := strconv.Unquote(e.Value)
			if err != nil {
				t.Fatal(err)
			}
			return s
		case *ast.BinaryExpr:
			return text(e.X) + text(e.Y)
		case *ast.Ident:
			return text(exprs[e.Name])
		}
		return ""
	}
	values := map[string]string{}
	for name, e := range exprs {
		values[name] = text(e)
	}
	return values
}

// merged brings fields into the order and the set that kustomize works with.
func merged(t *testing.T, fields types.FsSlice) types.FsSlice {
	t.Helper()
	sort.Sort(fields)
	all, err := types.FsSlice(nil).MergeAll(fields)
	if err != nil {
		t.Fatal(err)
	}
	sort.Sort(all)
	return all
}

func literal(gvk resid.Gvk) string {
	return fmt.Sprintf("resid.Gvk{Group: %q, Version: %q, Kind: %q}", gvk.Group, gvk.Version, gvk.Kind)
}

func TestFieldsAreThoseOfKustomize(t *testing.T) {
	folder, err := exec.Command("go", "list", "-f", "{{.Dir}}", "sigs.k8s.io/kustomize/api/krusty").Output()
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for name, text := range constants(t, filepath.Join(string(bytes.TrimSpace(folder)), "../internal/konfig/builtinpluginconsts")) {
		if strings.HasSuffix(name, "FieldSpecs") && strings.Contains(text, ":\n") && name != "metadataLabelsFieldSpecs" {
			source.WriteString(text + "\n")
		}
	}
	var k builtin
	if err := yaml.Unmarshal([]byte(source.String()), &k); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	out.WriteString("// Code generated from kustomize's source by go test -run TestFieldsAreThoseOfKustomize -update; DO NOT EDIT.\n\n")
	out.WriteString("package fast\n\nimport (\n\t\"sigs.k8s.io/kustomize/api/types\"\n\t\"sigs.k8s.io/kustomize/kyaml/resid\"\n)\n")
	for _, set := range []struct {
		name, comment string
		fields        types.FsSlice
	}{
		{"namespaceFields", "hold a namespace beside metadata", k.Namespace},
		{"namePrefixFields", "take a prefix", k.NamePrefix},
		{"nameSuffixFields", "take a suffix", k.NameSuffix},
		{"commonLabelFields", "hold labels or select by them", k.CommonLabels},
		{"templateLabelFields", "hold labels, those of templates included", k.TemplateLabels},
		{"volumeClaimTemplateLabelFields", "hold labels of volume claims' templates", k.VolumeClaimTemplateLabels},
		{"commonAnnotationFields", "hold annotations", k.CommonAnnotations},
		{"imageFields", "hold an image", k.Images},
		{"replicaFields", "hold a number of replicas", k.Replicas},
	} {
		fmt.Fprintf(&out, "\n// %s %s.\nvar %s = types.FsSlice{\n", set.name, set.comment, set.name)
		for _, f := range merged(t, set.fields) {
			fmt.Fprintf(&out, "{Gvk: %s, Path: %q, CreateIfNotPresent: %t},\n", literal(f.Gvk), f.Path, f.CreateIfNotPresent)
		}
		out.WriteString("}\n")
	}
	sort.SliceStable(k.NameReference, func(i, j int) bool { return k.NameReference[i].IsLessThan(k.NameReference[j].Gvk) })
	out.WriteString("\n// nameFields hold the name of an object of a kind.\nvar nameFields = []nameField{\n")
	for i, reference := range k.NameReference {
		if i > 0 && !k.NameReference[i-1].IsLessThan(reference.Gvk) {
			t.Fatalf("%v has no place of its own in the order", reference.Gvk)
		}
		for _, f := range merged(t, reference.FieldSpecs) {
			fmt.Fprintf(&out, "{of: %s, in: %s, path: %q},\n", literal(reference.Gvk), literal(f.Gvk), f.Path)
		}
	}
	out.WriteString("}\n")
	want, err := format.Source(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("fieldspecs.go", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile("fieldspecs.go")
	if err != nil || !bytes.Equal(have, want) {
		t.Errorf("fieldspecs.go is not what this version of kustomize says: run this test with -update (%v)", err)
	}
}
