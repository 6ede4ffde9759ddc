package fast

import (
	"sigs.k8s.io/kustomize/api/builtins"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
)

// generated is a generator and who its objects are said to come from.
type generated struct {
	resmap.Generator
	origin *resource.Origin
}

// generate adds what the generators of the kustomization make.
func (t *target) generate(found *objectList) error {
	generators, err := t.generators()
	if err != nil {
		return err
	}
	for _, g := range generators {
		made, err := g.Generate()
		if err != nil {
			return err
		}
		if err := made.AddOriginAnnotation(g.origin); err != nil {
			return err
		}
		if err := found.absorb(made); err != nil {
			return err
		}
	}
	return nil
}

func (t *target) generators() ([]generated, error) {
	var all []generated
	add := func(kind string, plugin resmap.GeneratorPlugin, args any) error {
		all = append(all, generated{plugin, t.configuredBy(kind)})
		return t.configure(plugin, args)
	}
	for _, args := range t.ConfigMapGenerator {
		args.Options = types.MergeGlobalOptionsIntoLocal(args.Options, t.GeneratorOptions)
		if err := add("ConfigMapGenerator", builtins.NewConfigMapGeneratorPlugin(), args); err != nil {
			return nil, err
		}
	}
	for _, args := range t.SecretGenerator {
		args.Options = types.MergeGlobalOptionsIntoLocal(args.Options, t.GeneratorOptions)
		if err := add("SecretGenerator", builtins.NewSecretGeneratorPlugin(), args); err != nil {
			return nil, err
		}
	}
	return all, nil
}
