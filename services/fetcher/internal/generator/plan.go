package generator

import (
	"fmt"
	"slices"
	"strings"

	generatorv1 "github.com/fluxcd/source-watcher/api/v2/v1beta1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/compose"
)

// output is one artifact to make.
type output struct {
	generatorv1.OutputArtifact
	// labels are what the path pattern captured.
	labels map[string]string
}

// maxOutputs bounds the artifacts of one object: its status names each, and what has more than a megabyte the API server refuses.
const maxOutputs = 5000

// outputs returns the artifacts that the spec asks for, one for each folder that the path
// pattern matches, if there is one.
func outputs(o *generatorv1.ArtifactGenerator, sources *sources) ([]output, error) {
	all, err := expand(o, sources)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, out := range all {
		if problems := validation.IsDNS1123Subdomain(out.Name); len(problems) > 0 {
			return nil, invalid("artifact name %q is not valid: %s", out.Name, problems[0])
		}
		if seen[out.Name] {
			return nil, invalid("artifact name %q is there twice: each artifact needs a name of its own", out.Name)
		}
		seen[out.Name] = true
	}
	return all, nil
}

func expand(o *generatorv1.ArtifactGenerator, sources *sources) ([]output, error) {
	if o.Spec.PathPattern == "" {
		all := make([]output, len(o.Spec.OutputArtifacts))
		for i, artifact := range o.Spec.OutputArtifacts {
			all[i] = output{OutputArtifact: artifact}
		}
		return all, nil
	}
	alias, text := split(o.Spec.PathPattern)
	from, err := sources.get("pathPattern", alias)
	if err != nil {
		return nil, err
	}
	pattern, err := compose.ParsePattern(text)
	if err != nil {
		return nil, invalid("pathPattern %q: %w", o.Spec.PathPattern, err)
	}
	var all []output
	for _, captures := range pattern.Find(from.tree.Files) {
		if len(all)+len(o.Spec.OutputArtifacts) > maxOutputs {
			return nil, invalid("pathPattern %q asks for more than %d artifacts: match fewer folders, or make several ArtifactGenerators", o.Spec.PathPattern, maxOutputs)
		}
		labels, err := labelsOf(captures)
		if err != nil {
			return nil, err
		}
		for _, artifact := range o.Spec.OutputArtifacts {
			all = append(all, output{OutputArtifact: filled(artifact, captures), labels: labels})
		}
	}
	return all, nil
}

func labelsOf(captures compose.Captures) (map[string]string, error) {
	labels := map[string]string{}
	for name, value := range captures {
		label := strings.ToLower(name)
		if problems := slices.Concat(validation.IsQualifiedName(label), validation.IsValidLabelValue(value)); len(problems) > 0 {
			return nil, invalid("pathPattern captured %s=%q, which cannot be a label: %s", name, value, problems[0])
		}
		labels[label] = value
	}
	return labels, nil
}

func filled(artifact generatorv1.OutputArtifact, captures compose.Captures) generatorv1.OutputArtifact {
	artifact.Name = captures.Fill(artifact.Name)
	artifact.Copy = slices.Clone(artifact.Copy)
	for i := range artifact.Copy {
		artifact.Copy[i].From = captures.Fill(artifact.Copy[i].From)
		artifact.Copy[i].To = captures.Fill(artifact.Copy[i].To)
	}
	return artifact
}

// split takes @alias/path apart.
func split(text string) (alias, path string) {
	alias, path, _ = strings.Cut(strings.TrimPrefix(text, "@"), "/")
	return alias, path
}

// check finds what can be told of the spec without its sources.
func (k *Kind) check(o *generatorv1.ArtifactGenerator) error {
	aliases := map[string]bool{}
	for _, ref := range o.Spec.Sources {
		if aliases[ref.Alias] {
			return invalid("source alias %q is there twice: each source needs an alias of its own", ref.Alias)
		}
		aliases[ref.Alias] = true
		if key := keyOf(o, ref); k.NoCrossNamespaceRefs && key.Namespace != o.Namespace {
			return &failure{reason: generatorv1.AccessDeniedReason, stalled: true, err: fmt.Errorf(
				"can't access '%s/%s/%s', cross-namespace references have been blocked", ref.Kind, key.Namespace, key.Name)}
		}
	}
	for _, artifact := range o.Spec.OutputArtifacts {
		for field, text := range map[string]string{"revision": artifact.Revision, "originRevision": artifact.OriginRevision} {
			if alias, _ := split(text); text != "" && !aliases[alias] {
				return invalid("%s of artifact %q: there is no source with the alias %q", field, artifact.Name, alias)
			}
		}
		for _, c := range artifact.Copy {
			if alias, _ := split(c.From); !aliases[alias] {
				return invalid("copy of artifact %q: there is no source with the alias %q", artifact.Name, alias)
			}
		}
	}
	return nil
}
