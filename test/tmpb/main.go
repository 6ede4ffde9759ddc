package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/test/controlplane"
	"github.com/sluice-gitops/sluice/test/harness"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func dynamicRaw(cfg *rest.Config) ([]byte, error) {
	c := kubernetes.NewForConfigOrDie(cfg)
	return c.RESTClient().Get().AbsPath("/debug/pprof/profile").Param("seconds", "9").DoRaw(context.Background())
}

func main() {
	ctx := context.Background()
	w, err := harness.NewWorld(ctx, harness.WorldOptions{Plane: controlplane.Options{NoNodes: true, RequestLog: os.Getenv("LOG") != ""}, WithoutSluice: true, Progress: os.Stderr})
	must(err)
	defer w.Close()
	cfg := rest.CopyConfig(w.REST)
	cfg.QPS = -1
	d := dynamic.NewForConfigOrDie(cfg)
	gvr := schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"}
	cm := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	ev := schema.GroupVersionResource{Version: "v1", Resource: "events"}
	r := d.Resource(gvr).Namespace("default")
	const n = 300
	cpu := func() time.Duration {
		c, err := w.Plane.CPUTime()
		must(err)
		return c["kube-apiserver"] + c["etcd"]
	}
	run := func(name string, f func(i int)) {
		time.Sleep(time.Second)
		before := cpu()
		start := time.Now()
		var wg sync.WaitGroup
		sem := make(chan struct{}, 8)
		for i := range n {
			wg.Add(1)
			sem <- struct{}{}
			go func() { defer wg.Done(); f(i); <-sem }()
		}
		wg.Wait()
		took := time.Since(start)
		time.Sleep(300 * time.Millisecond)
		fmt.Printf("%-28s wall %6.2f ms each, CPU %6.2f ms each\n", name, float64(took.Microseconds())/n/1000, float64((cpu()-before).Microseconds())/n/1000)
	}
	status := func(k int) map[string]any {
		return map[string]any{
			"observedGeneration": int64(1), "lastAppliedRevision": fmt.Sprintf("main@sha1:%040d", k), "lastAttemptedRevision": fmt.Sprintf("main@sha1:%040d", k),
			"conditions": []any{map[string]any{"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded", "message": fmt.Sprintf("Applied revision: main@sha1:%040d", k), "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": int64(1)}},
			"inventory": map[string]any{"entries": []any{
				map[string]any{"id": "default_app_apps_Deployment", "v": "v1"}, map[string]any{"id": "default_app__Service", "v": "v1"}, map[string]any{"id": "default_app__ConfigMap", "v": "v1"}, map[string]any{"id": "default_app__ServiceAccount", "v": "v1"}, map[string]any{"id": "default_app_networking.k8s.io_Ingress", "v": "v1"}}},
			"history": []any{map[string]any{"digest": fmt.Sprintf("sha256:%064d", k), "firstReconciled": "2026-01-01T00:00:00Z", "lastReconciled": "2026-01-01T00:00:00Z", "lastReconciledDuration": "1s", "lastReconciledStatus": "ReconciliationSucceeded", "totalReconciliations": int64(k), "metadata": map[string]any{"revision": fmt.Sprintf("main@sha1:%040d", k)}}},
		}
	}
	name := func(i int) string { return fmt.Sprintf("app-%04d", i) }
	run("create", func(i int) {
		_, err := r.Create(ctx, &unstructured.Unstructured{Object: map[string]any{"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": map[string]any{"name": name(i)}, "spec": map[string]any{"interval": "30m", "prune": true, "path": "./a", "sourceRef": map[string]any{"kind": "GitRepository", "name": "x"}}}}, metav1.CreateOptions{})
		must(err)
	})
	merge := func(k int, st map[string]any) func(int) {
		return func(i int) {
			b, _ := json.Marshal(map[string]any{"status": st})
			_, err := r.Patch(ctx, name(i), types.MergePatchType, b, metav1.PatchOptions{FieldManager: "sluice-applier"}, "status")
			must(err)
		}
	}
	run("status merge first", merge(1, status(1)))
	run("status merge whole", merge(2, status(2)))
	st := status(3)
	delete(st, "inventory")
	run("status merge few", merge(3, st))
	if os.Getenv("PROF") != "" {
		go func() {
			raw, err := dynamicRaw(cfg)
			must(err)
			must(os.WriteFile("/tmp/api.prof", raw, 0o644))
			fmt.Println("profile written")
		}()
		for k := range 6 {
			run("merge", merge(100+k, status(100+k)))
		}
		return
	}
	objs := make([]*unstructured.Unstructured, n)
	l, err := r.List(ctx, metav1.ListOptions{})
	must(err)
	for i := range l.Items {
		objs[i] = &l.Items[i]
	}
	run("status put", func(i int) {
		objs[i].Object["status"] = status(4)
		o, err := r.UpdateStatus(ctx, objs[i], metav1.UpdateOptions{FieldManager: "sluice-applier"})
		must(err)
		objs[i] = o
	})
	run("status put, no managed", func(i int) {
		objs[i].Object["status"] = status(5)
		objs[i].SetManagedFields(nil)
		o, err := r.UpdateStatus(ctx, objs[i], metav1.UpdateOptions{FieldManager: "sluice-applier"})
		must(err)
		objs[i] = o
	})
	run("status ssa", func(i int) {
		_, err := r.ApplyStatus(ctx, name(i), &unstructured.Unstructured{Object: map[string]any{"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": map[string]any{"name": name(i)}, "status": status(6)}}, metav1.ApplyOptions{FieldManager: "sluice-applier", Force: true})
		must(err)
	})
	run("status merge whole again", merge(7, status(7)))
	for range 3 {
		wch, err := r.Watch(ctx, metav1.ListOptions{})
		must(err)
		go func() {
			for range wch.ResultChan() {
			}
		}()
	}
	run("status merge, 3 watchers", merge(8, status(8)))
	run("configmap ssa create", func(i int) {
		_, err := d.Resource(cm).Namespace("default").Apply(ctx, name(i), &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name(i)}, "data": map[string]any{"a": "1"}}}, metav1.ApplyOptions{FieldManager: "sluice-applier", Force: true})
		must(err)
	})
	run("configmap ssa change", func(i int) {
		_, err := d.Resource(cm).Namespace("default").Apply(ctx, name(i), &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name(i)}, "data": map[string]any{"a": "2"}}}, metav1.ApplyOptions{FieldManager: "sluice-applier", Force: true})
		must(err)
	})
	run("event create", func(i int) {
		_, err := d.Resource(ev).Namespace("default").Create(ctx, &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Event", "metadata": map[string]any{"name": name(i) + ".abc"}, "involvedObject": map[string]any{"kind": "Kustomization", "namespace": "default", "name": name(i)}, "reason": "x", "message": "y", "type": "Normal"}}, metav1.CreateOptions{})
		must(err)
	})
}
