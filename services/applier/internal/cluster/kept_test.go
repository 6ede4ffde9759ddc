package cluster

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// wordy says that it serves any kind of any group, in so many bytes each.
func wordy(t *testing.T, room *Room, tenant string, bytes int) *Cluster {
	t.Helper()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch group, _, deep := strings.Cut(strings.TrimPrefix(q.URL.Path, "/apis/"), "/"); {
		case q.URL.Path == "/api":
			_, _ = io.WriteString(w, `{"kind":"APIVersions","versions":["v1"]}`)
		case q.URL.Path == "/apis":
			_, _ = io.WriteString(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`)
		case deep:
			_, _ = fmt.Fprintf(w, `{"kind":"APIResourceList","groupVersion":"%s/v1","resources":[{"name":"as","kind":"A","verbs":[%q]}]}`,
				group, strings.Repeat("v", bytes))
		}
	}))
	t.Cleanup(front.Close)
	c, err := New(&rest.Config{Host: front.URL}, Options{Room: room, Tenant: tenant})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func kindOf(group int) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: fmt.Sprintf("g%d", group), Version: "v1", Kind: "A"}
}

// What a remote cluster serves is kept, so that all of it has a bound and not each answer alone.
func TestWhatIsServedIsBounded(t *testing.T) {
	const mib, most = 3, 11
	c := wordy(t, nil, "", mib<<20)
	known := 0
	var large *TooLargeError
	for n := range 2 * most {
		_, err := c.Mapping(kindOf(n))
		if err == nil {
			known++
			continue
		}
		if !errors.As(err, &large) || large.Limit != 32<<20 {
			t.Fatalf("group %d: %v", n, err)
		}
	}
	if known == 0 || known >= most {
		t.Errorf("%d answers of %d MiB are kept", known, mib)
	}
	if _, err := c.Mapping(kindOf(0)); err != nil {
		t.Errorf("what is known is forgotten: %v", err)
	}
	if err := c.ForgetKinds(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Mapping(kindOf(2 * most)); err != nil {
		t.Errorf("after all was forgotten: %v", err)
	}
}

// The clusters of one tenant, however many, leave room for those of another one.
func TestWhatIsKeptIsShared(t *testing.T) {
	room := NewRoom()
	room.free = 30 << 20
	greedy := []*Cluster{wordy(t, room, "greedy", 3<<20), wordy(t, room, "greedy", 3<<20)}
	kept, refused := 0, false
	for n := range 20 {
		_, err := greedy[n%2].Mapping(kindOf(n))
		if err == nil {
			kept++
		}
		refused = refused || err != nil && strings.Contains(err.Error(), errKept.Error())
	}
	if kept < 5 || kept > 6 || !refused {
		t.Errorf("one tenant has %d answers of 3 MiB of a room of 30, refused: %v", kept, refused)
	}
	modest := wordy(t, room, "modest", 3<<20)
	if _, err := modest.Mapping(kindOf(0)); err != nil {
		t.Errorf("another one gets nothing: %v", err)
	}
	for _, c := range append(greedy, modest) {
		c.Close()
	}
	if room.free != 30<<20 || len(room.held) > 0 {
		t.Errorf("%d bytes are free after the end, and held: %v", room.free, room.held)
	}
	if _, err := modest.Mapping(kindOf(1)); err == nil {
		t.Error("after its end a cluster takes room again")
	}
}

func TestKept(t *testing.T) {
	room := NewRoom()
	a, b := &Kept{room: room, tenant: "a"}, &Kept{room: room, tenant: "b"}
	const third = int64(maxKept) / 3
	if !a.Resize(2*third) || a.Resize(2*third+3) {
		t.Errorf("a tenant takes two thirds and no more: %d", a.amount)
	}
	if !b.Resize(third/2) || !a.Resize(third) || !b.Resize(third) {
		t.Errorf("a has %d and b has %d", a.amount, b.amount)
	}
	a.End()
	if room.free != maxKept-third || a.Resize(1) || !a.Resize(0) {
		t.Errorf("%d are free after the end of one", room.free)
	}
	if unbounded := (*Kept)(nil); !unbounded.Resize(1 << 60) {
		t.Error("what is trusted has a bound")
	}
}
