package launch

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcPercent is how much garbage may pile up on what is alive. What is alive is small
	// beside what a change of everything makes and forgets, so Go's 100 would collect
	// twice as often.
	gcPercent = 200
	// ampleMemory is the Go memory in bytes up to which the collector may be that lazy:
	// enough for 1,000 Kustomizations of 5,000 objects. Above it the limit follows what
	// is alive, so that the collector never works against what is needed.
	ampleMemory = 270 << 20
	// roomPercent is the limit above what is alive, as a share of it.
	roomPercent = 100

	limitEvery = 10 * time.Second
)

// tuneCollector sets how often the process collects garbage, until ctx ends. GOGC and
// GOMEMLIMIT in the environment each take the place of what it would set.
func tuneCollector(ctx context.Context) {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	if _, set := os.LookupEnv("GOMEMLIMIT"); set {
		return
	}
	debug.SetMemoryLimit(ampleMemory)
	go func() {
		tick := time.NewTicker(limitEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				debug.SetMemoryLimit(memoryLimit(alive()))
			}
		}
	}()
}

// memoryLimit is the soft limit for a heap of which so many bytes are alive.
func memoryLimit(alive int64) int64 { return max(ampleMemory, alive*(100+roomPercent)/100) }

// alive is what the last collection found in use, in bytes.
func alive() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return int64(sample[0].Value.Uint64())
}
