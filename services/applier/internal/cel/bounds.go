package cel

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// The cost of a call is counted after it. These functions could, in one call,
// make far more than they are given, or read a value that is small in memory and
// vast when unfolded, so what they are about to do is bounded before.
var bounded = []string{
	"replace", "join", "format", "sets.contains", "sets.equivalent", "sets.intersects",
}

var errTooMuch = types.NewErr("it works on too much data at once")

// boundFunctions puts a guard before functions of an environment.
func boundFunctions(env *cel.Env) (*cel.Env, error) {
	var options []cel.EnvOption
	for _, name := range bounded {
		declared := env.Functions()[name]
		bindings, err := declared.Bindings()
		if err != nil {
			return nil, fmt.Errorf("set up CEL: bound function %s: %w", name, err)
		}
		byID := map[string]*functions.Overload{}
		for _, b := range bindings {
			byID[b.Operator] = b
		}
		for _, o := range declared.OverloadDecls() {
			original := byID[o.ID()]
			if original == nil {
				original = byID[name]
			}
			if original == nil {
				return nil, fmt.Errorf("set up CEL: bound function %s: overload %s has no binding", name, o.ID())
			}
			declare := cel.Overload
			if o.IsMemberFunction() {
				declare = cel.MemberOverload
			}
			options = append(options, cel.Function(name,
				declare(o.ID(), o.ArgTypes(), o.ResultType(), guarded(name, original))))
		}
	}
	return env.Extend(options...)
}

func guarded(name string, original *functions.Overload) cel.OverloadOpt {
	return cel.FunctionBinding(func(args ...ref.Val) ref.Val {
		if !affordable(name, args) {
			return errTooMuch
		}
		switch {
		case original.Unary != nil && len(args) == 1:
			return original.Unary(args[0])
		case original.Binary != nil && len(args) == 2:
			return original.Binary(args[0], args[1])
		}
		return original.Function(args...)
	})
}

func affordable(name string, args []ref.Val) bool {
	budget := maxBytes
	for _, a := range args {
		if budget = spend(budget, a); budget < 0 {
			return false
		}
	}
	switch name {
	case "replace":
		s, old, replacement := text(args[0]), text(args[1]), text(args[2])
		return len(s)+strings.Count(s, old)*len(replacement) <= maxBytes
	case overloads.Matches:
		return len(text(args[0]))*len(text(args[1])) <= maxMatch
	case "join":
		if len(args) == 2 {
			items, _ := args[0].(traits.Lister).Size().(types.Int)
			return int(items)*len(text(args[1])) <= maxBytes
		}
	case "sets.contains", "sets.equivalent", "sets.intersects": // they compare each with each
		a, b := maxBytes-spend(maxBytes, args[0]), maxBytes-spend(maxBytes, args[1])
		return a*b <= maxMatch
	}
	return true
}

func text(v ref.Val) string {
	s, _ := v.(types.String)
	return string(s)
}

// spend returns what is left of a budget after reading a value whole; less than
// zero when it does not suffice.
func spend(budget int, v ref.Val) int {
	budget-- // every value costs something
	switch v := v.(type) {
	case types.String:
		return budget - len(v)
	case types.Bytes:
		return budget - len(v)
	case traits.Lister:
		for it := v.Iterator(); budget >= 0 && it.HasNext() == types.True; {
			budget = spend(budget, it.Next())
		}
	case traits.Mapper:
		for it := v.Iterator(); budget >= 0 && it.HasNext() == types.True; {
			name := it.Next()
			if budget = spend(budget, name); budget >= 0 {
				budget = spend(budget, v.Get(name))
			}
		}
	}
	return budget
}

// boundOperator puts the guard before operators, which no function can replace.
func boundOperator(i interpreter.Interpretable) (interpreter.Interpretable, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok || len(call.Args()) != 2 {
		return i, nil
	}
	do, ok := operations[call.Function()]
	if !ok {
		return i, nil
	}
	return operator{call, do}, nil
}

var operations = map[string]func(left, right ref.Val) ref.Val{
	operators.Equals:    types.Equal,
	operators.NotEquals: func(left, right ref.Val) ref.Val { return types.Bool(types.Equal(left, right) != types.True) },
	operators.In: func(left, right ref.Val) ref.Val {
		if c, ok := right.(traits.Container); ok {
			return c.Contains(left)
		}
		return types.MaybeNoSuchOverloadErr(right)
	},
	overloads.Matches: func(left, right ref.Val) ref.Val {
		if m, ok := left.(traits.Matcher); ok {
			return m.Match(right)
		}
		return types.MaybeNoSuchOverloadErr(left)
	},
}

type operator struct {
	interpreter.InterpretableCall
	do func(left, right ref.Val) ref.Val
}

// Exec implements interpreter.InterpretableV2.
func (o operator) Exec(frame *interpreter.ExecutionFrame) ref.Val { return o.Eval(frame) }

// Eval implements interpreter.Interpretable.
func (o operator) Eval(a interpreter.Activation) ref.Val {
	left := o.Args()[0].Eval(a)
	if types.IsUnknownOrError(left) {
		return left
	}
	right := o.Args()[1].Eval(a)
	if types.IsUnknownOrError(right) {
		return right
	}
	if !affordable(o.Function(), []ref.Val{left, right}) {
		return errTooMuch
	}
	return o.do(left, right)
}
