package receive

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-gitops/sluice/services/webhook/internal/index"
)

type oneRoute struct{}

func (oneRoute) Find(uri string) (index.Route, bool) {
	return index.Route{Path: uri, Type: "github", Token: "t"}, uri == "/hook/known"
}

func (oneRoute) Loaded() bool { return true }

// Bodies in memory are bounded in number, and strangers cannot use the bound up.
func TestSlotsBoundBodies(t *testing.T) {
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	h := &Handler{Routes: oneRoute{}, Slots: make(chan struct{}, 1), Metrics: metrics, Log: slog.New(slog.DiscardHandler)}
	send := func(path string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader("{}")))
		return w.Code
	}
	h.Slots <- struct{}{}
	if got := send("/hook/known"); got != http.StatusServiceUnavailable {
		t.Errorf("with every slot taken the answer is %d, want 503", got)
	}
	if got := send("/hook/stranger"); got != http.StatusNotFound {
		t.Errorf("a stranger is answered %d, want 404 without a slot", got)
	}
	<-h.Slots
	for range 2 {
		if got := send("/hook/known"); got != http.StatusBadRequest {
			t.Errorf("with a slot free the answer is %d, want 400 for the missing signature", got)
		}
	}
	if len(h.Slots) != 0 {
		t.Error("a slot was not given back")
	}
}
