package build

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"helm.sh/helm/v3/pkg/chart"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
	"github.com/sluice-gitops/sluice/services/builder/internal/decrypt"
	"github.com/sluice-gitops/sluice/services/builder/internal/helm"
	"github.com/sluice-gitops/sluice/services/builder/internal/kustomize"
	"github.com/sluice-gitops/sluice/services/builder/internal/substitute"
)

// request is what the parent asks of a child.
type request struct {
	// Dir holds the artifact's root.
	Dir    string                         `json:"dir"`
	Spec   *kustomizev1.KustomizationSpec `json:"spec,omitempty"`
	Inputs Inputs                         `json:"inputs,omitzero"`
	// Release is set when a chart is rendered, and Spec is not.
	Release *helm.Request `json:"release,omitempty"`
}

// Inputs are what a build takes beside artifact and spec. They may be secret.
type Inputs struct {
	// Variables of spec.postBuild, with those of ConfigMaps and Secrets.
	Variables map[string]string `json:"variables,omitempty"`
	// Keys for spec.decryption.
	Keys decrypt.Keys `json:"keys,omitzero"`
}

// reply is what a child answers, in front of the render.
type reply struct {
	// Broken says that the child, not the input, is to blame.
	Broken  string      `json:"broken,omitempty"`
	Failure *InputError `json:"failure,omitempty"`
	Objects int         `json:"objects"`
	// Lookups are what a chart's templates look up and the request did not have.
	Lookups []render.Lookup `json:"lookups,omitempty"`
	// Config is the digest of the values that a chart was rendered with.
	Config []byte           `json:"config,omitempty"`
	Reads  []kustomize.Read `json:"reads"`
}

// Prime prepares a child for its first build.
func Prime() { kustomize.Prime() }

// NewWork returns the work of a child process: to build what a request asks for.
// A build that brought its own schema, or that the child itself is to blame for, leaves the process
// spent. The artifact used last stays open.
func NewWork() func(body []byte) (answer []byte, spent bool) {
	open := &opened{}
	return func(body []byte) ([]byte, bool) { return work(open, body) }
}

// opened is the artifact that a child has open, and the chart in it once that was asked for.
type opened struct {
	tree  *artifact.Tree
	chart *chart.Chart
}

// get opens the artifact in a folder, unless it is open.
func (o *opened) get(dir string) (*artifact.Tree, error) {
	if o.tree != nil && o.tree.Dir == dir {
		return o.tree, nil
	}
	tree, err := artifact.Open(dir)
	if err != nil {
		return nil, err
	}
	if o.tree != nil {
		err = o.tree.Close()
	}
	o.tree, o.chart = tree, nil
	return tree, err
}

func work(open *opened, body []byte) (answer []byte, spent bool) {
	var q request
	if err := json.Unmarshal(body, &q); err != nil {
		return encode(reply{Failure: failed(fmt.Errorf("read build request: %w", err))}, nil), true
	}
	if q.Release != nil {
		return encode(release(open, q)), false
	}
	a, objects, spent := run(open, q)
	if a.Failure != nil || a.Broken != "" {
		return encode(a, nil), spent
	}
	plain, err := render.Encode(objects)
	if err == nil {
		err = bearable(folder(q.Spec), objects, plain)
	}
	if err != nil {
		a.Failure = failed(err)
		return encode(a, nil), true
	}
	a.Objects = len(objects)
	return encode(a, plain), spent
}

func run(open *opened, q request) (a reply, objects []render.Object, spent bool) {
	tree, err := open.get(q.Dir)
	if err != nil {
		return reply{Broken: "the unpacked artifact cannot be read"}, nil, true
	}
	built, err := build(tree, q)
	a.Reads, spent = built.Reads, built.OwnSchema
	if err != nil {
		a.Failure = failed(err)
		return a, nil, spent
	}
	kustomize.Decorate(built.Objects, q.Spec.CommonMetadata)
	return a, built.Objects, spent
}

// build builds, decrypts and substitutes, in this order.
func build(tree *artifact.Tree, q request) (kustomize.Result, error) {
	if q.Spec.Decryption == nil {
		built, err := kustomize.Build(tree, q.Spec, nil)
		if err != nil {
			return built, err
		}
		return built, finish(built.Objects, q)
	}
	secrets, err := decrypt.New(q.Inputs.Keys)
	if err != nil {
		return kustomize.Result{}, err
	}
	built, err := kustomize.Build(tree, q.Spec, secrets)
	if err == nil {
		err = secrets.Objects(built.Objects)
	}
	if err == nil {
		err = finish(built.Objects, q)
	}
	return built, discreet(err, secrets)
}

func finish(objects []render.Object, q request) error {
	if err := substitute.Apply(objects, q.Spec.PostBuild, q.Inputs.Variables); err != nil {
		return err
	}
	return readable(objects)
}

// discreet replaces an error of others that may quote what was decrypted.
func discreet(err error, secrets *decrypt.Decryptor) error {
	var own *decrypt.Error
	if err == nil || errors.As(err, &own) || !secrets.Reveals(err.Error()) {
		return err
	}
	return errors.New("kustomize build failed: the message is not shown because it may quote what was decrypted: " +
		"decrypt the files of the Secret generators and patches with sops and run kustomize build on them")
}

// readable refuses what an applier could not use: a Secret that is still
// encrypted.
func readable(objects []render.Object) error {
	for _, o := range objects {
		if _, ok := o.Object["sops"]; ok && o.GetKind() == "Secret" {
			return &InputError{Reason: reasonReconcile, Message: fmt.Sprintf(
				"%s/%s/%s is SOPS encrypted, configuring decryption is required for this secret to be reconciled",
				o.GetKind(), o.GetNamespace(), o.GetName())}
		}
	}
	return nil
}

// encode writes the length of the head, the head and the render.
func encode(a reply, plain []byte) []byte {
	a.Failure = a.Failure.short()
	head, err := json.Marshal(a)
	if err != nil { // strings and numbers always encode
		head = []byte("{}")
	}
	out := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(head)+len(plain)+1), uint32(len(head)))
	out = append(out, head...)
	return append(out, plain...)
}

func decode(body []byte) (reply, []byte, error) {
	if len(body) < 4 {
		return reply{}, nil, errors.New("reply is cut short")
	}
	size := binary.BigEndian.Uint32(body)
	if uint64(size) > uint64(len(body)-4) {
		return reply{}, nil, errors.New("reply is cut short")
	}
	var a reply
	if err := json.Unmarshal(body[4:4+size], &a); err != nil {
		return reply{}, nil, fmt.Errorf("read reply: %w", err)
	}
	return a, body[4+size:], nil
}
