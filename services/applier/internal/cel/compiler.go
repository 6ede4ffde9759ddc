package cel

import (
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
	"k8s.io/utils/lru"
)

// Bounds of every expression. Real ones are far below.
const (
	maxText    = 10_000    // code points
	maxDepth   = 50        // of the syntax tree
	maxCost    = 1_000_000 // steps, as CEL counts them
	maxBytes   = 4 << 20   // that one call may read, or make
	maxMatch   = 100 << 20 // text times pattern
	checkEvery = 100       // steps of a loop between looks at the clock
	keep       = 1_000     // compiled expressions
)

// Compiler compiles expressions and keeps those used last. Its methods may be
// called concurrently.
type Compiler struct {
	object     *cel.Env
	dependency *cel.Env
	compiled   *lru.Cache
}

// key is what a compiled expression is kept under.
type key struct {
	env  *cel.Env
	text string
}

// NewCompiler returns a compiler.
func NewCompiler() (*Compiler, error) {
	object, err := newEnv()
	if err != nil {
		return nil, err
	}
	fields := cel.MapType(cel.StringType, cel.DynType)
	dependency, err := object.Extend(cel.Variable("self", fields), cel.Variable("dep", fields))
	if err != nil {
		return nil, fmt.Errorf("set up CEL: %w", err)
	}
	return &Compiler{object: object, dependency: dependency, compiled: lru.New(keep)}, nil
}

func newEnv() (*cel.Env, error) {
	env, err := cel.NewEnv(
		cel.HomogeneousAggregateLiterals(),
		cel.EagerlyValidateDeclarations(true),
		cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true),
		cel.OptionalTypes(),
		cel.ParserExpressionSizeLimit(maxText),
		cel.ParserRecursionLimit(maxDepth),
		ext.Strings(), ext.Sets(), ext.Encoders(),
	)
	if err != nil {
		return nil, fmt.Errorf("set up CEL: %w", err)
	}
	return boundFunctions(env)
}

// Object compiles an expression whose variables are the top-level fields of an
// object. Those differ from kind to kind, so that only the syntax is checked.
func (c *Compiler) Object(text string) (*Expression, error) {
	return c.compile(c.object, text, c.object.Parse)
}

// Dependency compiles an expression over self, which depends on dep. It must be of
// type bool.
func (c *Compiler) Dependency(text string) (*Expression, error) {
	return c.compile(c.dependency, text, c.dependency.Compile)
}

func (c *Compiler) compile(env *cel.Env, text string, parse func(string) (*cel.Ast, *cel.Issues)) (*Expression, error) {
	key := key{env: env, text: text}
	if kept, ok := c.compiled.Get(key); ok {
		return kept.(*Expression), nil
	}
	tree, issues := parse(text)
	if err := issues.Err(); err != nil {
		return nil, fmt.Errorf("failed to parse the CEL expression '%s': %w", text, err)
	}
	if got := tree.OutputType(); tree.IsChecked() && got != cel.BoolType {
		return nil, fmt.Errorf("CEL expression output type mismatch: expected %s, got %s: '%s'", cel.BoolType, got, text)
	}
	program, err := env.Program(tree,
		cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost), cel.InterruptCheckFrequency(checkEvery),
		cel.CustomDecorator(boundOperator))
	if err != nil {
		return nil, fmt.Errorf("failed to parse the CEL expression '%s': %w", text, err)
	}
	e := &Expression{text: text, program: program}
	c.compiled.Add(key, e)
	return e, nil
}
