package engine

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
)

// watched is a live table that has some objects.
type watched struct {
	Records
	live map[string]types.UID
}

func (w watched) Seen(r cluster.Ref) (livestate.Slim, bool) {
	uid, ok := w.live[r.Name]
	return livestate.Slim{UID: uid}, ok
}

// TestGatesOfTheGoneAreForgotten: previews come and go with their namespaces, and whichever replica
// prunes one tells the others nothing.
func TestGatesOfTheGoneAreForgotten(t *testing.T) {
	table := watched{live: map[string]types.UID{"stays": "1", "made-anew": "2"}}
	e := New(table, Options{ServeTimeout: time.Hour})
	open := func(name, uid string, ago time.Duration) {
		e.opened([]*item{{ref: cluster.Ref{Version: "v1", Kind: "Namespace", Name: name}, outcome: Outcome{UID: types.UID(uid)}}})
		for r, g := range e.gates {
			if r.Name == name {
				e.gates[r] = gate{uid: g.uid, at: g.at.Add(-ago)}
			}
		}
	}
	open("stays", "1", 2*time.Hour)
	open("made-anew", "1", 2*time.Hour)
	for n := range 5000 {
		open(fmt.Sprint("preview-", n), fmt.Sprint(n), 2*time.Hour)
	}
	if len(e.gates) > 2*fewGates+1 {
		t.Errorf("%d gates are kept of 1 object that is there", len(e.gates))
	}
	at := func(name string) cluster.Ref { return cluster.Ref{Version: "v1", Kind: "Namespace", Name: name} }
	if !e.open(at("stays"), "1") {
		t.Error("an object that is there has to become ready again")
	}
	if _, kept := e.gates[at("made-anew")]; kept {
		t.Error("an object that is another by now is taken for ready")
	}
	for n := range 1000 {
		open(fmt.Sprint("new-", n), fmt.Sprint(n), 0)
	}
	if !e.open(at("new-0"), "0") {
		t.Error("what became ready a moment ago, and no watch has shown yet, was forgotten")
	}
}
