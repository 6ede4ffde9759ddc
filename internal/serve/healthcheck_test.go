package serve

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestHealthcheck(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(status)
	}))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"", "0.0.0.0", "127.0.0.1"} {
		if err := Healthcheck(t.Context(), net.JoinHostPort(host, port)); err != nil {
			t.Errorf("ready process on %q: %v", host, err)
		}
	}
	status = http.StatusServiceUnavailable
	if err := Healthcheck(t.Context(), ":"+port); err == nil {
		t.Error("a process that is not ready passed")
	}
	if err := Healthcheck(t.Context(), ""); err == nil {
		t.Error("an empty address passed")
	}
}
