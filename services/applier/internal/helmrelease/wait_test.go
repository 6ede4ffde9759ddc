package helmrelease

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
)

// placeOf is the place of releases in the cluster behind an API server.
func placeOf(t *testing.T, host string) *Place {
	t.Helper()
	c, err := cluster.New(&rest.Config{Host: host}, cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	return &Place{Cluster: c, Table: livestate.New(client, livestate.Options{})}
}

// TestFasterThanALook ends a pass over what is other at each look, and looks again soon.
func TestFasterThanALook(t *testing.T) {
	p := &pass{hr: &helmv2.HelmRelease{}, place: placeOf(t, "http://127.0.0.1:1")}
	looks := 0
	progress, wait, err := p.advance(t.Context(), time.Now(), func(context.Context) (release.Progress, error) {
		if looks++; looks > 100 {
			return release.Progress{}, errors.New("it looked a hundred times")
		}
		pod := cluster.NewRef(schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, "ns", fmt.Sprint("pod-", looks))
		return release.Progress{Waiting: cluster.Unseen(pod), Left: time.Hour, Message: pod.Name}, nil
	})
	if err != nil || looks != 3 || wait != again || progress.Message != fmt.Sprint("pod-", looks) {
		t.Errorf("after %d looks it waits %s for %s, error %v; want %d looks and %s", looks, wait, progress.Message, err, 3, again)
	}
}
