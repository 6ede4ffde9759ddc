package applier_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/services/applier"
)

// farAbout returns the requests of the applier to the other cluster that name an object of the
// app's, without watches and lists.
func (w *remoteWorld) farAbout(a *remoteApp, from time.Time) []string {
	a.t.Helper()
	all, err := w.farPlane.Requests(from, time.Now())
	if err != nil {
		a.t.Fatal(err)
	}
	var out []string
	for _, r := range all {
		if strings.HasPrefix(r.UserAgent, userAgent) && r.Namespace == a.namespace && r.Verb != "watch" && r.Verb != "list" {
			out = append(out, r.Verb+" "+r.Resource)
		}
	}
	return out
}

// setFar changes a value of a ConfigMap of the other cluster as somebody else.
func (a *remoteApp) setFar(cm *corev1.ConfigMap, key, value string) {
	a.t.Helper()
	cm.Data[key] = value
	if err := a.far.Update(a.t.Context(), cm, client.FieldOwner("somebody")); err != nil {
		a.t.Fatal(err)
	}
}

// remoteRestart: what is known of another cluster outlives the process, whoever connects to it. Without that, and in
// a cluster that is new to an object, everything is compared.
func remoteRestart(t *testing.T, w *remoteWorld) {
	for _, c := range []struct {
		what      string
		meanwhile func(*remoteApp, *corev1.ConfigMap)
		want      []string
	}{
		{"nothing happened: no request", func(*remoteApp, *corev1.ConfigMap) {}, nil},
		{"an object was edited: it is put back alone", func(a *remoteApp, cm *corev1.ConfigMap) {
			a.setFar(cm, "v", "foreign")
		}, []string{"patch configmaps"}},
		{"another user connects: no request", func(a *remoteApp, _ *corev1.ConfigMap) {
			a.secret(w.kubeconfig(t, "next-of-"+a.namespace), nil)
		}, nil},
		{"nothing was kept: each is looked at", func(a *remoteApp, _ *corev1.ConfigMap) {
			if err := w.blobs.Delete(t.Context(), a.snapshot()); err != nil {
				t.Error(err)
			}
		}, []string{"patch configmaps", "patch configmaps"}},
		{"the cluster has another name: each is looked at", func(a *remoteApp, _ *corev1.ConfigMap) {
			a.secret(renamed(w.kubeconfig(t, "renamed-of-"+a.namespace)), nil)
		}, []string{"patch configmaps", "patch configmaps"}},
	} {
		a := w.connected(t, nil)
		a.build(configMap("one", "1"), configMap("two", "2"))
		a.ready()
		cm, err := a.farMap("one")
		a.agedMap(cm, err)
		w.stop()
		c.meanwhile(a, cm)
		from := time.Now()
		w.stop = w.start(applier.Settings{})
		canary := w.connected(t, nil) // its pass ends after those of the start
		canary.build(configMap("one", "1"))
		canary.ready()
		a.farHolds("one", "1")
		a.until(c.what, func() error {
			if got := w.farAbout(a, from); !slices.Equal(got, c.want) {
				return fmt.Errorf("requests are %v, want %v", got, c.want)
			}
			return nil
		})
		a.settled()
		if got := w.farAbout(a, from); !slices.Equal(got, c.want) {
			t.Errorf("%s: requests are %v, want %v", c.what, got, c.want)
		}
		cm, err = a.farMap("one")
		if err != nil {
			t.Fatal(err)
		}
		a.setFar(cm, "v", "edited later")
		a.farHolds("one", "1")
	}
}

// renamed returns a kubeconfig that calls the same server by another name.
func renamed(config *api.Config) *api.Config {
	for _, c := range config.Clusters {
		c.Server = strings.Replace(c.Server, "127.0.0.1", "localhost", 1)
	}
	return config
}
