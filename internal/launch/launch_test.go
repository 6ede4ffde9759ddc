package launch_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/launch"
	"github.com/sluice-gitops/sluice/internal/serve"
)

// Until a service has said what its readiness is, its process has none: a rollout would
// go on, and a push be sent to it.
func TestNotReadyBeforeTheServiceSaysSo(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{"c": {Server: "https://192.0.2.1"}},
		Contexts: map[string]*clientcmdapi.Context{"c": {Cluster: "c"}}, CurrentContext: "c",
	}, kubeconfig); err != nil {
		t.Fatal(err)
	}
	env := launch.Env{Settings: serve.Settings{Kubeconfig: kubeconfig}, Log: slog.New(slog.DiscardHandler), Ready: &serve.Readiness{}, Bus: &bus.Bus{}, Blob: &blob.Store{}}
	begin, begun := make(chan struct{}), make(chan struct{})
	service := launch.Service{Name: "fetcher", Run: func(_ context.Context, env launch.Env) error {
		<-begin
		env.Ready.Add("fetcher", func(context.Context) error { return nil })
		close(begun)
		return nil
	}}
	component := service.Component(env)
	if err := env.Ready.Check(t.Context()); err == nil || err.Error() != "fetcher: starting" {
		t.Errorf("readiness of a service that was not started: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- component.Run(t.Context()) }()
	if err := env.Ready.Check(t.Context()); err == nil {
		t.Error("ready before the service said so")
	}
	close(begin)
	<-begun
	if err := env.Ready.Check(t.Context()); err != nil {
		t.Errorf("the service is ready, its process says %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
