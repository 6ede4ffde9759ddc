package cel

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// timeLimit bounds one evaluation; a usual one takes microseconds.
const timeLimit = time.Second

var (
	errTooLong = fmt.Errorf("it takes longer than %s", timeLimit)
	errBusy    = errors.New("an earlier evaluation of it has not ended")
)

// Expression is a compiled expression. Its methods may be called concurrently.
type Expression struct {
	text    string
	program cel.Program
	// overdue counts evaluations that were given up and run on.
	overdue atomic.Int32
}

// Bool evaluates the expression over variables, which the caller must not change
// later: an evaluation may outlive the call. Data that the expression needs and
// does not find is an error that names it.
func (e *Expression) Bool(ctx context.Context, variables map[string]any) (bool, error) {
	value, err := e.bool(ctx, variables)
	if err != nil {
		return false, fmt.Errorf("failed to evaluate the CEL expression '%s': %w", e.text, err)
	}
	return value, nil
}

type outcome struct {
	value bool
	err   error
}

// bool gives an evaluation up that takes too long. Loops end with their context,
// but a single call over much data ends when it is done; until then the expression
// is not evaluated again, so that at most one such call runs on for each.
func (e *Expression) bool(ctx context.Context, variables map[string]any) (bool, error) {
	if e.overdue.Load() > 0 {
		return false, errBusy
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeLimit, errTooLong)
	done := make(chan outcome, 1)
	go func() {
		defer cancel()
		value, err := e.evaluate(ctx, variables)
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		if o.err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), errTooLong) {
			o.err = errTooLong
		}
		return o.value, o.err
	case <-ctx.Done():
	}
	select {
	case o := <-done: // it ended in the same moment
		return o.value, o.err
	default:
	}
	e.overdue.Add(1)
	go func() {
		<-done
		e.overdue.Add(-1)
	}()
	return false, context.Cause(ctx)
}

func (e *Expression) evaluate(ctx context.Context, variables map[string]any) (bool, error) {
	result, _, err := e.program.ContextEval(ctx, variables)
	if err != nil {
		return false, err
	}
	value, ok := result.(types.Bool)
	if !ok {
		return false, fmt.Errorf("the result is of type %s, not bool", result.Type().TypeName())
	}
	return bool(value), nil
}
