package helmstore

import (
	"errors"
	"testing"

	"helm.sh/helm/v3/pkg/release"

	"github.com/sluice-gitops/sluice/internal/seal"
)

// TestHistoriesShareRoom has three namespaces read a large history each at once, and none a second; small ones need no room.
func TestHistoriesShareRoom(t *testing.T) {
	room := NewRoom()
	of := func(namespace string) *Store { return &Store{Room: room, owner: seal.Identity{Namespace: namespace}} }
	read := func(s *Store, mib int) error {
		found := history(t, mib, release.StatusSuperseded, release.StatusDeployed)
		if err := winnow(found); err != nil {
			t.Fatal(err)
		}
		all, err := s.read(t.Context(), "app", found)
		if err == nil && (len(all) != 2 || all[0].Outline || all[1].Outline) {
			t.Errorf("%s: it is not read as a whole", s.owner.Namespace)
		}
		return err
	}
	first, second, other, third, fourth := of("a"), of("a"), of("b"), of("c"), of("d")
	for _, tt := range []struct {
		why   string
		store *Store
		mib   int
		err   error
	}{
		{"the first of a namespace", first, 22, nil},
		{"the second of it", second, 22, ErrNoRoom},
		{"a small one of it", second, 3, nil},
		{"the first of another", other, 22, nil},
		{"that of a third", third, 22, nil},
		{"that of a fourth", fourth, 22, ErrNoRoom},
		{"a small one of it", fourth, 3, nil},
	} {
		if err := read(tt.store, tt.mib); !errors.Is(err, tt.err) {
			t.Errorf("%s: error %v, want %v", tt.why, err, tt.err)
		}
	}
	first.Close()
	first.Close()
	if err := read(second, 22); err != nil {
		t.Errorf("after the first was closed: %v", err)
	}
	for _, s := range []*Store{second, other, third, fourth} {
		s.Close()
	}
	if err := read(fourth, 25); !errors.Is(err, ErrTooMuch) {
		t.Errorf("one that is too large: error %v, want %v", err, ErrTooMuch)
	}
	if err := room.Enter(t.Context(), "all", maxHistory); err != nil { // nothing of it was kept
		t.Error(err)
	}
}
