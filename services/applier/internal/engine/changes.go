package engine

// Changes returns the outcomes that changed something.
func Changes(outcomes []Outcome) []Outcome {
	var changes []Outcome
	for _, o := range outcomes {
		if o.Action == Created || o.Action == Configured || o.Action == Deleted {
			changes = append(changes, o)
		}
	}
	return changes
}

// ChangeLines formats the outcomes that changed something, one line each:
// Kind/namespace/name created, configured or deleted.
func ChangeLines(outcomes []Outcome) []string {
	var lines []string
	for _, o := range Changes(outcomes) {
		lines = append(lines, o.Object.String()+" "+string(o.Action))
	}
	return lines
}
