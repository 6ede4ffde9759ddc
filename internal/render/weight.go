package render

// ValueWeight is what one value weighs besides its text: three bytes of JSON take hundreds in memory.
const ValueWeight = 256

// MaxWeight bounds what a render may weigh: an applier, which nothing confines, has it whole in memory. A builder makes none
// that weighs more. The 5,000 objects of the builder's corpus weigh 29 MiB; of large Deployments with 280 values each, 76 KiB,
// a builder's child has memory for some 2,000, which is less: honest objects find their end there.
const MaxWeight = 192 << 20

// Weight is about how many bytes of memory it takes to read JSON: its own, and ValueWeight for each value. Values are counted
// by the signs that begin or part them outside of texts, which a large document must have many of to be expensive.
func Weight(body []byte) int {
	n, quoted, escaped := 0, false, false
	for _, c := range body {
		switch {
		case escaped:
			escaped = false
		case c == '\\' && quoted:
			escaped = true
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == '{' || c == '['):
			n++
		}
	}
	return len(body) + n*ValueWeight
}
