package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/test/harness"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// appsPerFolder are the applications of one Kustomization when memory is measured.
const appsPerFolder = 100

// sizes are the numbers of Kustomizations at which memory is measured, with
// 5*appsPerFolder objects each.
var sizes = []int{0, 5, 10, 20}

// footprint is what the process holds when it manages a number of objects and is at rest.
type footprint struct {
	objects int
	// heap is what its Go heap holds after a collection, resident what the process and
	// its children hold, in bytes.
	heap, resident int64
}

// grow measures the memory of one process at each of the sizes.
func (w *world) grow(ctx context.Context, p *progress) ([]footprint, error) {
	files := map[string]string{}
	for i := range sizes[len(sizes)-1] * appsPerFolder {
		files[fmt.Sprintf("apps/%s/%s.yaml", folder(i/appsPerFolder), appName(i))] = app(i, "1")
	}
	if err := w.change(ctx, files, "Add folders of apps"); err != nil {
		return nil, err
	}
	objects, err := harness.Objects([]byte(manifests(0, w.HTTP.URL(w.repo))))
	if err != nil {
		return nil, err
	}
	for _, u := range objects {
		u.SetNamespace(controlNamespace)
	}
	if _, err := w.bare.apply(ctx, objects); err != nil {
		return nil, err
	}
	var all []footprint
	made := 0
	for _, size := range sizes {
		var more []*unstructured.Unstructured
		for ; made < size; made++ {
			more = append(more, whole(made))
		}
		if _, err := w.bare.apply(ctx, more); err != nil {
			return nil, err
		}
		for i := range size {
			_, err := w.Cluster.WaitFor(ctx, kustomization, controlNamespace, folder(i), func(u *unstructured.Unstructured) bool {
				return u != nil && harness.Ready(u, w.revision())
			})
			if err != nil {
				return nil, err
			}
		}
		if _, err := w.settled(ctx, time.Now()); err != nil {
			return nil, err
		}
		now, err := w.footprint(ctx, 5*appsPerFolder*size)
		if err != nil {
			return nil, err
		}
		p.say("%d objects: heap %d MiB, resident %d MiB", now.objects, now.heap>>20, now.resident>>20)
		all = append(all, now)
	}
	return all, nil
}

func folder(i int) string { return fmt.Sprintf("folder-%02d", i) }

// whole is the Kustomization of one folder.
func whole(i int) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": kustomization.GroupVersion().String(), "kind": kustomization.Kind,
		"metadata": map[string]any{"name": folder(i), "namespace": controlNamespace},
		"spec": map[string]any{
			"interval": "30m", "prune": true, "path": "./apps/" + folder(i), "targetNamespace": sluiceNamespace,
			"sourceRef": map[string]any{"kind": "GitRepository", "name": "bench"},
		},
	}}
}

func (w *world) footprint(ctx context.Context, objects int) (footprint, error) {
	if _, err := w.probe(ctx, "/debug/pprof/heap?gc=1"); err != nil { // collects first
		return footprint{}, err
	}
	metrics, err := w.probe(ctx, "/metrics")
	if err != nil {
		return footprint{}, err
	}
	heap, err := gauge(metrics, "go_memstats_heap_alloc_bytes")
	if err != nil {
		return footprint{}, err
	}
	resident, err := residentMemory(w.Sluice.PID())
	return footprint{objects: objects, heap: heap, resident: resident}, err
}

func (w *world) probe(ctx context.Context, path string) (body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.Sluice.Health+path, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", path, response.Status)
	}
	return string(text), err
}

// gauge finds a metric without labels in Prometheus text.
func gauge(text, name string) (int64, error) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			number, err := strconv.ParseFloat(value, 64)
			return int64(number), err
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}

const growthPreface = `# Memory by objects

What ` + "`sluice run`" + ` holds, all services with embedded NATS, S3 and the build processes, when it manages a number of objects and
is at rest. The Go heap grows with the objects: a record and a watch's note of each. The rest of what is resident is NATS and S3,
the children that build, and heap that the runtime has not given back after the installation. This table is the output of
` + "`make bench MEMORY=1 WRITE=1`" + `: Kustomizations of 500 objects (a ServiceAccount, ConfigMap, Service, Deployment and Ingress each hundred times).

`

// growthTable renders footprints, with the growth since the one before.
func growthTable(all []footprint) string {
	var b strings.Builder
	b.WriteString("| objects | Go heap after a collection | for each object more | resident |\n|---|---|---|---|\n")
	for i, f := range all {
		growth := ""
		if i > 0 {
			before := all[i-1]
			growth = fmt.Sprintf("%.1f KiB", float64(f.heap-before.heap)/1024/float64(f.objects-before.objects))
		}
		fmt.Fprintf(&b, "| %d | %.1f MiB | %s | %d MiB |\n", f.objects, float64(f.heap)/(1<<20), growth, f.resident>>20)
	}
	return b.String()
}
