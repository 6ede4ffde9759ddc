package launch

import (
	"runtime"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	for _, c := range []struct {
		reason      string
		alive, want int64
	}{
		{"little is alive: ample room", 60 << 20, ampleMemory},
		{"as much as there is room for", ampleMemory / 2, ampleMemory},
		{"much is alive: as much again", 1 << 30, 2 << 30},
	} {
		if got := memoryLimit(c.alive); got != c.want {
			t.Errorf("%s: %d, want %d", c.reason, got, c.want)
		}
	}
	runtime.GC()
	if alive() <= 0 {
		t.Error("the runtime does not say what is alive")
	}
}
