package helmrelease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	eventrecord "k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// server is an API server to which statuses are written.
type server struct {
	client.Client
	statuses client.SubResourceWriter
}

func (s server) Status() client.SubResourceWriter { return s.statuses }

// full has no room for a status with an inventory, and takes none when it fails.
type full struct {
	client.SubResourceWriter
	written *helmv2.HelmReleaseStatus
	fails   error
}

func (f *full) Patch(_ context.Context, o client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	hr := o.(*helmv2.HelmRelease)
	if hr.Status.Inventory != nil {
		return apierrors.NewRequestEntityTooLargeError("limit is 3145728")
	}
	f.written = hr.Status.DeepCopy()
	return f.fails
}

// TestLargeInventory writes a status without the inventory that it has no room for, and says so.
func TestLargeInventory(t *testing.T) {
	api, told := &full{}, eventrecord.NewFakeRecorder(10)
	p := &pass{
		Worker: &Worker{Client: server{statuses: api}, Recorder: told}, log: slog.New(slog.DiscardHandler), told: map[string]bool{},
		read: &helmv2.HelmRelease{}, hr: &helmv2.HelmRelease{},
	}
	entries := make([]helmv2.ResourceRef, 9000)
	for i := range entries {
		entries[i].ID = fmt.Sprintf("ns_%d__ConfigMap", i)
	}
	p.hr.Status.Inventory, p.hr.Status.HelmChart = &helmv2.ResourceInventory{Entries: entries}, "ns/chart"
	if err := p.write(t.Context()); err != nil || api.written == nil || api.written.HelmChart != "ns/chart" {
		t.Fatalf("error %v, written %+v", err, api.written)
	}
	select {
	case event := <-told.Events:
		if !strings.Contains(event, "Warning InventoryTooLarge") || !strings.Contains(event, "9000 objects") {
			t.Errorf("told was %s", event)
		}
	default:
		t.Error("nothing was told")
	}
	p.hr.Status.HelmChart = "ns/other"
	if api.fails = errors.New("no"); !errors.Is(p.write(t.Context()), api.fails) {
		t.Error("a write that failed was taken for one that did not")
	}
}
