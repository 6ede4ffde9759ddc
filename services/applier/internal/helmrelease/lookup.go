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

// maxAnswer is how many bytes an answer may have before it is sealed: NATS carries one MiB.
const maxAnswer = 900 << 10

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
	p := &pass{Worker: w, hr: hr, told: map[string]bool{}}
	answer, err := p.say(ctx, q)
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	return w.Keys.SealAnswer(p.identity(), question, plain)
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
	left := maxAnswer
	for _, l := range q.Lookups {
		found := p.look(ctx, l, left)
		if left -= len(found.Object); left < 0 {
			found = p.tooLarge(l)
		}
		a.Found = append(a.Found, found)
	}
	return a, nil
}

// tooLarge is what a lookup finds that has no room in an answer.
func (p *pass) tooLarge(l render.Lookup) render.Found {
	what := "objects of kind " + l.Kind
	if l.Name != "" {
		what = l.Kind + " " + l.Name
	}
	return render.Found{Lookup: l, Error: fmt.Sprintf(
		"the lookup of %s in namespace %q for release %s/%s finds more than the %d bytes that all lookups of a step may: look up single objects by name, or fewer of them",
		what, l.Namespace, p.hr.GetReleaseNamespace(), kube.ReleaseName(p.hr), maxAnswer)}
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

// look looks one thing up that has no more than left bytes. Why it cannot be is the chart's author's to read.
func (p *pass) look(ctx context.Context, l render.Lookup, left int) render.Found {
	if left <= 0 {
		return p.tooLarge(l)
	}
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
		return p.tooLarge(l)
	case meta.IsNoMatchError(err):
		out.Error = fmt.Sprintf("unable to get apiresource from unstructured: %s", gvk)
	case cluster.IsGone(err):
	case errors.Is(err, context.DeadlineExceeded):
		out.Error = "the API server takes too long to answer"
	case err != nil:
		out.Error = err.Error()
	default:
		if out.Object, err = body.MarshalJSON(); err != nil {
			out.Error = err.Error()
		}
	}
	return out
}
