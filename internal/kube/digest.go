package kube

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// SpecDigest returns sha256:<hex> of a spec's JSON. The builder writes it into the
// head of a render and the applier compares it with the spec that the API server
// has now, so a render of an older spec is never applied.
func SpecDigest(spec any) (string, error) {
	body, err := json.Marshal(spec)
	if err != nil {
		return "", fmt.Errorf("digest spec: %w", err)
	}
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}
