package helmrelease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	"helm.sh/helm/v3/pkg/chartutil"
	helmrelease "helm.sh/helm/v3/pkg/release"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// Answer says what the cluster of a HelmRelease serves, and looks up what its templates ask for with the
// rights that the release is made with. It seals the answer for the object and the question. A question that
// makes no sense, or is about an object that is not there, gets no answer.
func (w *Worker) Answer(ctx context.Context, question []byte) []byte {
	answer, err := w.answer(ctx, question)
	if err != nil {
		w.Log.Warn("a question was not answered", "error", err.Error())
		return nil
	}
	return answer
}

func (w *Worker) answer(ctx context.Context, question []byte) ([]byte, error) {
	var q render.Question
	if err := json.Unmarshal(question, &q); err != nil {
		return nil, fmt.Errorf("read question: %w", err)
	}
	hr := &helmv2.HelmRelease{}
	if err := w.Live.Get(ctx, client.ObjectKey{Namespace: q.Object.Namespace, Name: q.Object.Name}, hr); err != nil {
		return nil, fmt.Errorf("read HelmRelease %s/%s: %w", q.Object.Namespace, q.Object.Name, err)
	}
	if string(hr.UID) != q.UID {
		return nil, fmt.Errorf("the question is about an earlier HelmRelease %s/%s", hr.Namespace, hr.Name)
	}
	p := &pass{Worker: w, hr: hr, told: map[string]bool{}, log: w.logOf(hr)}
	defer p.close()
	answer, err := p.say(ctx, q)
	if err != nil {
		answer = unanswered(err)
	}
	sealed, err := p.sealed(question, answer)
	if err == nil && len(sealed) > render.MaxMessage {
		return p.sealed(question, render.Answer{TooLarge: p.tooMuch(q, len(sealed))})
	}
	return sealed, err
}

// sealed is an answer as the bus carries it: packed, and sealed for the object and the question.
func (p *pass) sealed(question []byte, answer render.Answer) ([]byte, error) {
	plain, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	return p.Keys.SealAnswer(p.identity(), question, plain)
}

// say answers a question in the object's cluster. One that gives no answer is told at once: who asks
// holds a worker meanwhile.
func (p *pass) say(ctx context.Context, q render.Question) (a render.Answer, err error) {
	leave, err := p.locate(ctx)
	defer leave()
	if err == nil {
		err = p.connect(p.hr.GetStorageNamespace())
	}
	if noTarget(err) != nil || errors.Is(err, cluster.ErrBusy) {
		return render.Answer{Unavailable: err.Error(), Busy: errors.Is(err, cluster.ErrBusy)}, nil
	}
	if err != nil {
		return render.Answer{}, err
	}
	if q.Served {
		served, err := p.client.Served()
		var refused apierrors.APIStatus
		switch {
		case errors.As(err, &refused):
			return render.Answer{Refused: err.Error()}, nil
		case err != nil:
			return render.Answer{Unavailable: err.Error()}, nil
		}
		return render.Answer{Served: &served}, nil
	}
	if q.Previous {
		a.Previous, err = p.previous(ctx)
		return a, err
	}
	left := render.MaxMessage
	for _, l := range q.Lookups {
		found, err := p.look(ctx, l, left)
		if errors.Is(err, cluster.ErrTooLarge) {
			return render.Answer{TooLarge: p.tooLarge(l)}, nil
		}
		body, err := json.Marshal(found)
		if err != nil {
			return render.Answer{}, err
		}
		if left -= len(body) + 1; left <= 0 {
			return render.Answer{TooLarge: p.tooLarge(l)}, nil
		}
		a.Found = append(a.Found, found)
	}
	return a, nil
}

// tooMuch says that an answer of so many bytes has no room on the bus.
func (p *pass) tooMuch(q render.Question, size int) string {
	release := p.hr.GetReleaseNamespace() + "/" + kube.ReleaseName(p.hr)
	if q.Previous {
		return fmt.Sprintf("the values of release %s have %d bytes when packed with the defaults of its chart, and an upgrade can preserve %d: make them smaller, or unset spec.upgrade.preserveValues",
			release, size, render.MaxMessage)
	}
	return fmt.Sprintf("what the cluster of release %s serves takes %d bytes to say when packed, more than %d", release, size, render.MaxMessage)
}

// tooLarge says that what a lookup finds has no room in an answer.
func (p *pass) tooLarge(l render.Lookup) string {
	what := "objects of kind " + l.Kind
	if l.Name != "" {
		what = l.Kind + " " + l.Name
	}
	return fmt.Sprintf(
		"the lookup of %s in namespace %q for release %s/%s finds more than the %d bytes that all lookups of a step may: look up single objects by name, or fewer of them",
		what, l.Namespace, p.hr.GetReleaseNamespace(), kube.ReleaseName(p.hr), render.MaxMessage)
}

// previous returns the values of the revision that an upgrade takes the place of: the newest when it is
// deployed, else the deployed one, else the newest.
func (p *pass) previous(ctx context.Context) (*render.Previous, error) {
	all, err := p.store.List(ctx, kube.ReleaseName(p.hr))
	if err != nil || len(all) == 0 {
		return &render.Previous{}, err
	}
	current := all[len(all)-1]
	for _, r := range slices.Backward(all) {
		if r.Info.Status == helmrelease.StatusDeployed {
			current = r
			break
		}
	}
	values, err := chartutil.CoalesceValues(current.Chart, current.Config)
	if err != nil {
		return nil, fmt.Errorf("read values of release %s: %w", fullName(current), err)
	}
	return &render.Previous{Config: current.Config, Values: values}, nil
}

// look looks one thing up. A list of more than left bytes is a cluster.ErrTooLarge; why it cannot be looked up else is the
// chart's author's to read.
func (p *pass) look(ctx context.Context, l render.Lookup, left int) (render.Found, error) {
	out := render.Found{Lookup: l}
	gvk := schema.FromAPIVersionAndKind(l.APIVersion, l.Kind)
	ref := cluster.NewRef(gvk, l.Namespace, l.Name)
	var body json.Marshaler
	var err error
	if l.Name == "" {
		body, err = p.client.List(ctx, ref, left)
	} else {
		body, err = p.client.Get(ctx, ref)
	}
	switch {
	case errors.Is(err, cluster.ErrTooLarge):
		return out, err
	case meta.IsNoMatchError(err):
		out.Error = fmt.Sprintf("unable to get apiresource from unstructured: %s", gvk)
	case cluster.IsGone(err):
	case errors.Is(err, context.DeadlineExceeded):
		out.Error = "the API server takes too long to answer all lookups of a step: look up lists, or fewer objects"
	case err != nil:
		out.Error = err.Error()
	default:
		if out.Object, err = body.MarshalJSON(); err != nil {
			out.Error = err.Error()
		}
	}
	return out, nil
}
