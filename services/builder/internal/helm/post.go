package helm

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/releaseutil"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// The labels that name the HelmRelease an object comes from.
const (
	originName      = "helm.toolkit.fluxcd.io/name"
	originNamespace = "helm.toolkit.fluxcd.io/namespace"
)

// fileAnnotation carries a document's file through kustomize.
const fileAnnotation = "sluice.dev/rendered-file"

// document is one YAML document of a rendered file.
type document struct {
	file   string
	object map[string]any
}

// postRender runs the post-renderers on rendered files, then adds the common metadata and
// the labels of the origin. Without any of them the files stay as they are.
func postRender(files map[string]string, q Request) (map[string]string, error) {
	if len(q.PostRenderers) == 0 && q.CommonMetadata == nil && q.Origin == (Origin{}) {
		return files, nil
	}
	documents, err := read(files)
	if err != nil {
		return nil, err
	}
	for _, r := range q.PostRenderers {
		if r.Kustomize == nil {
			continue
		}
		if documents, err = kustomized(documents, r.Kustomize, q.Strategy); err != nil {
			return nil, err
		}
	}
	for _, d := range documents {
		if m := q.CommonMetadata; m != nil {
			decorate(d.object, m.Labels, m.Annotations)
		}
		if q.Origin != (Origin{}) {
			decorate(d.object, map[string]string{originName: q.Origin.Name, originNamespace: q.Origin.Namespace}, nil)
		}
	}
	return write(documents)
}

// read splits files into documents, in the order in which Helm reads them. Empty ones are left out. The end of a
// document's last line, which splitting takes away, may be the end of a value.
func read(files map[string]string) ([]document, error) {
	var out []document
	for _, file := range slices.Sorted(maps.Keys(files)) {
		parts := releaseutil.SplitManifests(files[file])
		names := slices.Collect(maps.Keys(parts))
		sort.Sort(releaseutil.BySplitManifestsOrder(names))
		for _, name := range names {
			body, err := yaml.YAMLToJSON([]byte(parts[name] + "\n"))
			if err != nil {
				return nil, fmt.Errorf("YAML parse error on %s: %w", file, err)
			}
			var object map[string]any
			if err := utiljson.Unmarshal(body, &object); err != nil {
				return nil, fmt.Errorf("YAML parse error on %s: a document is no object: %w", file, err)
			}
			if len(object) > 0 {
				out = append(out, document{file: file, object: object})
			}
		}
	}
	return out, nil
}

func write(documents []document) (map[string]string, error) {
	files := map[string]string{}
	for _, d := range documents {
		body, err := yaml.Marshal(d.object)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", d.file, err)
		}
		if have := files[d.file]; have != "" {
			files[d.file] = have + "---\n" + string(body)
			continue
		}
		files[d.file] = string(body)
	}
	return files, nil
}

// decorate adds labels and annotations to an object, or to the objects of a list.
func decorate(object map[string]any, labels, annotations map[string]string) {
	if items, ok := object["items"].([]any); ok && strings.HasSuffix(fmt.Sprint(object["kind"]), "List") {
		for _, item := range items {
			if o, ok := item.(map[string]any); ok {
				decorate(o, labels, annotations)
			}
		}
		return
	}
	for field, more := range map[string]map[string]string{"labels": labels, "annotations": annotations} {
		if len(more) == 0 {
			continue
		}
		into := child(child(object, "metadata"), field)
		for k, v := range more {
			into[k] = v
		}
	}
}

// child returns the map at a key, which is made if there is none.
func child(m map[string]any, key string) map[string]any {
	if have, ok := m[key].(map[string]any); ok {
		return have
	}
	made := map[string]any{}
	m[key] = made
	return made
}

// kustomized runs one post-renderer: on all documents together, on all but hooks, or on hooks
// and the others apart.
func kustomized(documents []document, spec *helmv2.Kustomize, strategy helmv2.PostRenderStrategy) ([]document, error) {
	if strategy == helmv2.PostRenderStrategyCombined || strategy == "" {
		return kustomize(documents, spec)
	}
	var hooks, others []document
	for _, d := range documents {
		if isHook(d.object) {
			hooks = append(hooks, d)
			continue
		}
		others = append(others, d)
	}
	others, err := kustomize(others, spec)
	if err == nil && strategy == helmv2.PostRenderStrategySeparate {
		hooks, err = kustomize(hooks, spec)
	}
	return append(others, hooks...), err
}

func isHook(object map[string]any) bool {
	metadata, _ := object["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	_, ok := annotations[release.HookAnnotation]
	return ok
}

// kustomize runs kustomize on documents, with the patches and images of a post-renderer.
func kustomize(documents []document, spec *helmv2.Kustomize) ([]document, error) {
	if len(documents) == 0 {
		return nil, nil
	}
	files := filesys.MakeFsInMemory()
	var all strings.Builder
	for _, d := range documents {
		child(child(d.object, "metadata"), "annotations")[fileAnnotation] = d.file
		body, err := yaml.Marshal(d.object)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", d.file, err)
		}
		all.WriteString("---\n")
		all.Write(body)
	}
	kustomization, err := kustomizationOf(spec)
	if err != nil {
		return nil, err
	}
	for name, body := range map[string][]byte{"kustomization.yaml": kustomization, "all.yaml": []byte(all.String())} {
		if err := files.WriteFile(name, body); err != nil {
			return nil, err
		}
	}
	options := krusty.MakeDefaultOptions()
	options.PluginConfig = types.DisabledPluginConfig()
	built, err := krusty.MakeKustomizer(options).Run(files, ".")
	if err != nil {
		return nil, err
	}
	var out []document
	for _, r := range built.Resources() {
		body, err := r.MarshalJSON()
		if err != nil {
			return nil, err
		}
		var object map[string]any
		if err := utiljson.Unmarshal(body, &object); err != nil {
			return nil, err
		}
		out = append(out, document{file: takeFile(object), object: object})
	}
	return out, nil
}

// takeFile removes and returns a document's file.
func takeFile(object map[string]any) string {
	metadata := child(object, "metadata")
	annotations := child(metadata, "annotations")
	file, _ := annotations[fileAnnotation].(string)
	delete(annotations, fileAnnotation)
	if len(annotations) == 0 {
		delete(metadata, "annotations")
	}
	return file
}

// kustomizationOf writes a post-renderer as a kustomization. Both speak the same JSON.
func kustomizationOf(spec *helmv2.Kustomize) ([]byte, error) {
	return json.Marshal(map[string]any{
		"apiVersion": types.KustomizationVersion, "kind": types.KustomizationKind,
		"resources": []string{"all.yaml"}, "patches": spec.Patches, "images": spec.Images,
	})
}
