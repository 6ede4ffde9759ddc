package desired_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/desired"
)

// bucket has renders by name, and unseals them as they are. It counts the bytes of plain text that it gave out.
type bucket struct {
	plain map[string]string
	given int
}

func (b *bucket) Get(_ context.Context, name, _ string, _ int64) ([]byte, error) {
	if _, ok := b.plain[name]; !ok {
		return nil, blob.ErrNotFound
	}
	return []byte(name), nil
}

func (b *bucket) OpenWithin(_ context.Context, _ seal.Identity, _ string, sealed []byte, limit int) ([]byte, error) {
	plain := b.plain[string(sealed)]
	if len(plain) > limit {
		return nil, seal.ErrTooLarge
	}
	b.given += len(plain)
	return []byte(plain), nil
}

// weighing is a render of about so many bytes of memory and few of text, and lengthy one that is mostly text.
func weighing(weight int) string {
	return `{"object":{"apiVersion":"v1","kind":"A","x":[` + strings.Repeat("0,", weight/(2+render.ValueWeight)-5) + `0]}}`
}

func lengthy(bytes int) string {
	return `{"object":{"apiVersion":"v1","kind":"A","x":"` + strings.Repeat("x", bytes) + `"}}`
}

const mib = 1 << 20

// world are renders by name, and what is open of them.
type world struct {
	*testing.T
	bucket  *bucket
	renders *desired.Renders
}

func newWorld(t *testing.T, plain map[string]string) *world {
	b := &bucket{plain: plain}
	return &world{T: t, bucket: b, renders: desired.NewRenders(b, b)}
}

func (w *world) open(namespace, name string) (func(), error) {
	id := seal.Identity{Cluster: "local", Kind: "Kustomization", Namespace: namespace, Name: name}
	_, closed, err := w.renders.Open(w.Context(), id, name, name)
	return closed, err
}

func (w *world) mustOpen(namespace, name string) func() {
	w.Helper()
	closed, err := w.open(namespace, name)
	if err != nil {
		w.Fatalf("open %s for %s: %v", name, namespace, err)
	}
	return closed
}

// Renders that are open share what memory they may take: a namespace has as much as one render may need, the rest is
// the others', and who finds none is told so after a moment.
func TestOpenRendersShareRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string]string{
			"most": weighing(render.MaxWeight), "half": weighing(render.MaxWeight / 2), "small": weighing(mib), "text": lengthy(8 * mib),
		})
		most := w.mustOpen("a", "most")
		for _, name := range []string{"half", "text"} {
			if _, err := w.open("a", name); !errors.Is(err, desired.ErrNoRoom) {
				t.Errorf("%s beside all that its namespace may have open: %v", name, err)
			}
		}
		w.mustOpen("a", "small")
		half := w.mustOpen("b", "half")
		if _, err := w.open("c", "half"); !errors.Is(err, desired.ErrNoRoom) {
			t.Errorf("more than all: %v", err)
		}
		w.mustOpen("c", "small")
		half()
		most()
		w.mustOpen("c", "most")
	})
}

// What a large render needs is not known before it is unpacked. Until there is room nothing of it is, and then no more is kept
// than it needs.
func TestLargeRenderIsUnpackedWhereThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string]string{"half": weighing(render.MaxWeight / 2), "text": lengthy(8 * mib)})
		half := w.mustOpen("a", "half")
		w.bucket.given = 0
		if _, err := w.open("a", "text"); !errors.Is(err, desired.ErrNoRoom) || w.bucket.given > 0 {
			t.Errorf("%d bytes were unpacked of a render for which there is no room: %v", w.bucket.given, err)
		}
		half()
		w.mustOpen("a", "text")
		w.mustOpen("a", "half")
	})
}

// A render that no builder makes is built again, or refused by the builder.
func TestRenderBeyondMeasureIsBroken(t *testing.T) {
	w := newWorld(t, map[string]string{"values": weighing(render.MaxWeight + mib), "text": lengthy(render.MaxWeight)})
	for name := range w.bucket.plain {
		for range 2 {
			if _, err := w.open("a", name); !errors.Is(err, desired.ErrBroken) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	w.bucket.plain["most"] = weighing(render.MaxWeight)
	w.mustOpen("a", "most")()
}

// A render that cannot be read leaves its room, and one that is kept in memory takes it as any other.
func TestRoomIsGivenBack(t *testing.T) {
	w := newWorld(t, map[string]string{"most": weighing(render.MaxWeight), "bad": "{" + lengthy(8*mib)})
	for range 3 {
		w.mustOpen("a", "most")()
		if _, err := w.open("a", "bad"); !errors.Is(err, desired.ErrBroken) {
			t.Errorf("a render that is no JSON: %v", err)
		}
	}
}
