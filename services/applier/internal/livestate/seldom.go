package livestate

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// sayEvery is how often the log has it, at most, that a kind cannot be watched: a cluster that is away, or refuses, fails its
// watches again and again.
const sayEvery = 10 * time.Minute

// seldom logs an error once in sayEvery; the others count as what only helps to find faults.
type seldom struct {
	slog.Handler
	last *moment
}

type moment struct {
	now func() time.Time

	mu sync.Mutex
	at time.Time
}

func (m *moment) due() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if now.Sub(m.at) < sayEvery {
		return false
	}
	m.at = now
	return true
}

// Handle implements slog.Handler.
func (s seldom) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError && !s.last.due() {
		if r.Level = slog.LevelDebug; !s.Enabled(ctx, r.Level) {
			return nil
		}
	}
	return s.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (s seldom) WithAttrs(attrs []slog.Attr) slog.Handler {
	return seldom{s.Handler.WithAttrs(attrs), s.last}
}

// WithGroup implements slog.Handler.
func (s seldom) WithGroup(name string) slog.Handler { return seldom{s.Handler.WithGroup(name), s.last} }
