package source

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/flight"
)

// LaterError says that a pass must come again before it may ask a host. It tells nothing about the source.
type LaterError struct {
	Host string
	// Wait is when to come again; never zero.
	Wait time.Duration
}

// Is says that nothing was asked, so that others do.
func (l *LaterError) Is(target error) bool { return target == flight.ErrNotAsked }

// Error implements error.
func (l *LaterError) Error() string { return fmt.Sprintf("%s is to be asked in %s", l.Host, l.Wait) }

type asking struct{}

// Asking returns a context in which Ask does what enter says.
func Asking(ctx context.Context, enter func(host, road string) error) context.Context {
	return context.WithValue(ctx, asking{}, enter)
}

// Ask is called before a server is asked that the object's State does not name as its Host, with what
// State would say of it. The pass ends when it returns an error, which is a *LaterError.
func Ask(ctx context.Context, host, road string) error {
	enter, ok := ctx.Value(asking{}).(func(host, road string) error)
	if !ok {
		return nil
	}
	return enter(host, road)
}
