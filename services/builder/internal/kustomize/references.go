package kustomize

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// reference is a path or address in a kustomization.
type reference struct{ field, value string }

// inspect refuses a kustomization that refers to anything outside the artifact
// or wants a program run. kustomize would try some of it even with its plugins
// off, and its own messages name neither file nor field.
func (f *files) inspect(rel string, body []byte) error {
	var k map[string]any
	if err := yaml.Unmarshal(body, &k); err != nil {
		return fmt.Errorf("%s: %w", rel, err)
	}
	if _, ok := k["openapi"]; ok {
		f.ownSchema = true
	}
	f.secrets.note(path.Dir(rel), k)
	return inspectFields(rel, path.Dir(rel), k)
}

// inspectFields checks the references of a kustomization in folder dir; name is
// what messages call it.
func inspectFields(name, dir string, k map[string]any) error {
	for _, field := range []string{"helmCharts", "helmChartInflationGenerator"} {
		if !empty(k[field]) {
			return fmt.Errorf("%s: %s: Helm charts in a kustomization are not allowed in a build: render the chart with helm template and commit what it prints", name, field)
		}
	}
	for _, ref := range references(k) {
		if err := ref.check(dir); err != nil {
			return fmt.Errorf("%s: %s: %w", name, ref.field, err)
		}
	}
	return nil
}

func (r reference) check(dir string) error {
	switch {
	case isRemote(r.value):
		return fmt.Errorf("%q is remote: remote bases and files are not allowed in a build: copy them into the repository, or fetch them with a source of their own", redact(r.value))
	case path.IsAbs(r.value):
		return fmt.Errorf("path %q leaves the artifact: it is absolute", r.value)
	case leaves(path.Join(dir, r.value)):
		return fmt.Errorf("path %q leaves the artifact", r.value)
	}
	return nil
}

func leaves(rel string) bool { return rel == ".." || strings.HasPrefix(rel, "../") }

// remoteForms are the spellings of addresses that kustomize fetches: URLs, scp
// style, forced protocols and the hosts it knows, each with the git suffixes.
var remoteForms = regexp.MustCompile(
	`(?i)^(git::|gh:|github\.com[/:]|git@|[a-z0-9._-]+@[a-z0-9.-]+:)|://|\.git(/|$|\?)|_git/|\?(ref|version|timeout|submodules)=`)

func isRemote(value string) bool { return remoteForms.MatchString(value) }

// redact removes credentials and the query from an address.
func redact(address string) string {
	u, err := url.Parse(address)
	if err != nil || (u.User == nil && u.RawQuery == "") {
		return address
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}

// references lists every path or address a kustomization names.
func references(k map[string]any) []reference {
	var refs []reference
	add := func(field string, values ...any) {
		for _, v := range values {
			if s, ok := v.(string); ok && s != "" && !strings.ContainsAny(s, "\n{") {
				refs = append(refs, reference{field, s})
			}
		}
	}
	for _, field := range []string{
		"resources", "bases", "components", "crds", "configurations",
		"generators", "transformers", "validators", "patchesStrategicMerge",
	} {
		add(field, list(k[field])...)
	}
	for _, field := range []string{"patches", "patchesJson6902", "replacements"} {
		for _, item := range list(k[field]) {
			add(field+".path", fieldOf(item, "path"))
		}
	}
	add("openapi.path", fieldOf(k["openapi"], "path"))
	for _, field := range []string{"configMapGenerator", "secretGenerator"} {
		for _, item := range list(k[field]) {
			add(field+".envs", append(list(fieldOf(item, "envs")), fieldOf(item, "env"))...)
			for _, file := range list(fieldOf(item, "files")) {
				s, _ := file.(string)
				if _, value, ok := strings.Cut(s, "="); ok && !isRemote(s) {
					s = value
				}
				add(field+".files", s)
			}
		}
	}
	return refs
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

func fieldOf(v any, name string) any {
	m, _ := v.(map[string]any)
	return m[name]
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}
