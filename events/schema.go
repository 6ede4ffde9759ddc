package events

import (
	"embed"
	"fmt"
)

//go:embed schemas/*.json
var schemas embed.FS

// Schema returns the JSON Schema (draft 2020-12) of an event type's data. A schema
// lets unknown fields pass, because a later version of a type may add some.
func Schema(eventType string) ([]byte, error) {
	schema, err := schemas.ReadFile("schemas/" + eventType + ".json")
	if err != nil {
		return nil, fmt.Errorf("read schema of %q: %w", eventType, err)
	}
	return schema, nil
}
