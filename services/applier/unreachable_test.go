package applier_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier"
)

// remoteUnreachable shows that clusters that do not answer hold up nothing, with three
// workers and more objects of such clusters than that.
func remoteUnreachable(t *testing.T, w *remoteWorld) {
	w.concurrency = 3
	w.with(applier.Settings{}, func() {
		defer func() { w.concurrency = 0 }()
		besideTheDead(t, w)
	})
}

func besideTheDead(t *testing.T, w *remoteWorld) {
	t.Helper()
	silent, met := silence(t)
	stuck, asked := stuckServer(t)
	var apps []*remoteApp
	for _, config := range []*api.Config{silent, silent, silent, silent, stuck, stuck, stuck, stuck} {
		a := w.newApp(t, nil)
		a.secret(config, nil)
		a.build(configMap("one", "1"))
		apps = append(apps, a)
	}
	near := w.world.newApp(t, nil)
	far := w.connected(t, nil)
	near.until("both clusters were tried", func() error {
		if met.Load() == 0 || asked.Load() == 0 {
			return fmt.Errorf("%d connections, %d requests", met.Load(), asked.Load())
		}
		return nil
	})
	began := time.Now()
	near.build(configMap("one", "1"))
	far.build(configMap("one", "1"))
	near.ready()
	far.ready()
	t.Logf("applied to two clusters that answer %s after two that do not were tried", time.Since(began).Round(time.Millisecond))
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("clusters that do not answer held up those that do for %s", took)
	}
	for _, a := range apps[:4] {
		a.condition(kube.ConditionReady, "False", "ReconciliationFailed", "no answer within 8s")
	}
	began = time.Now()
	near.moveSource("main@sha1:2")
	near.build(configMap("one", "2"))
	near.ready()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("clusters known not to answer held up the others for %s", took)
	}
}

// serverConfig returns a kubeconfig of a server with a token.
func serverConfig(address string, authority []byte) *api.Config {
	config := api.NewConfig()
	config.Clusters["c"] = &api.Cluster{Server: address, CertificateAuthorityData: authority}
	config.AuthInfos["u"] = &api.AuthInfo{Token: "any"}
	config.Contexts["x"] = &api.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	return config
}

// silence listens and never says a word. It counts who came.
func silence(t *testing.T) (*api.Config, *atomic.Int64) {
	t.Helper()
	var listen net.ListenConfig
	listener, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	met := &atomic.Int64{}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			met.Add(1)
			t.Cleanup(func() { _ = conn.Close() })
		}
	}()
	return serverConfig("https://"+listener.Addr().String(), nil), met
}

// stuckServer says that it is ready and answers nothing else. It counts who asked.
func stuckServer(t *testing.T) (*api.Config, *atomic.Int64) {
	t.Helper()
	asked := &atomic.Int64{}
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			asked.Add(1)
			<-r.Context().Done()
		}
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return serverConfig(server.URL, authority), asked
}

// forward passes connections on to an address until the listener is closed.
func forward(ctx context.Context, listener net.Listener, address string) {
	for {
		in, err := listener.Accept()
		if err != nil {
			return
		}
		out, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			_ = in.Close()
			continue
		}
		for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
			go func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = pair[0].Close()
			}()
		}
	}
}
