package sandbox

// Line is how many requests have a child and how many wait for one.
func (p *Pool) Line() (held, waiting int) { return p.line.Held(), p.line.Waiting() }
