package handle

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/desired"
	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

// oneRender is a bucket with one render, unsealed.
type oneRender struct{}

func (oneRender) Get(context.Context, string, string, int64) ([]byte, error) {
	return []byte(`{"object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"b"}}}`), nil
}

func (oneRender) OpenWithin(_ context.Context, _ seal.Identity, _ string, sealed []byte, _ int) ([]byte, error) {
	return sealed, nil
}

// placing is a cluster of which it cannot be found out where objects live.
type placing struct {
	Target
	err error
}

func (p placing) Place(context.Context, []render.Object) error { return p.err }

// A cluster that does not answer where objects live is told as one that cannot be reached, before anything is claimed.
func TestOpenOfASilentCluster(t *testing.T) {
	late := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	for _, tt := range []struct {
		why  string
		err  error
		lost bool
	}{
		{"it answers", nil, false},
		{"no answer in time", late, true},
		{"nobody listens", &net.OpError{Op: "dial", Err: errors.New("refused")}, true},
		{"the pass ended", context.Canceled, false},
	} {
		p := &pass{Worker: &Worker{Renders: desired.NewRenders(oneRender{}, oneRender{})}, ks: &kustomizev1.Kustomization{}, Target: placing{err: tt.err}}
		_, err := p.open(t.Context(), status.Attempt{RenderID: "id"})
		var lost *cluster.NoTargetError
		if !errors.Is(err, tt.err) || errors.As(err, &lost) != tt.lost {
			t.Errorf("%s: got %v", tt.why, err)
		}
	}
}
