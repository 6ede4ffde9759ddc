package seal

import (
	"encoding/binary"
	"fmt"
)

// Identity names the custom resource that a render belongs to.
type Identity struct {
	// Cluster is the cluster the render is applied to.
	Cluster string `json:"cluster"`
	// Kind is the kind of the custom resource. Its case matters.
	Kind string `json:"kind"`
	// Namespace and Name are those of the custom resource.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// UID tells it from an earlier one of the same name.
	UID string `json:"uid"`
}

// Validate refuses an identity with an empty field: what is bound to nothing
// would open for anybody.
func (id Identity) Validate() error {
	names := [...]string{"cluster", "kind", "namespace", "name", "uid"}
	for i, v := range id.fields() {
		if v == "" {
			return fmt.Errorf("%w: %s is empty in %s", ErrIdentity, names[i], id)
		}
	}
	return nil
}

// String returns cluster/kind/namespace/name, for messages.
func (id Identity) String() string {
	return id.Cluster + "/" + id.Kind + "/" + id.Namespace + "/" + id.Name
}

func (id Identity) fields() [5]string {
	return [...]string{id.Cluster, id.Kind, id.Namespace, id.Name, id.UID}
}

// frame joins strings so that no two lists give the same bytes: each is
// preceded by its length.
func frame(parts ...string) []byte {
	var out []byte
	for _, p := range parts {
		out = binary.AppendUvarint(out, uint64(len(p)))
		out = append(out, p...)
	}
	return out
}
