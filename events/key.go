package events

import (
	"fmt"
	"hash/fnv"
	"net/url"
	"strconv"
	"strings"
)

// Stage names the service that works on a check.
type Stage string

// The stages that take checks, in the order a revision passes them.
const (
	StageFetch Stage = "fetch"
	StageBuild Stage = "build"
	StageApply Stage = "apply"
)

// Stages lists every stage that has a check stream.
func Stages() []Stage { return []Stage{StageFetch, StageBuild, StageApply} }

// Lanes is how many queues the checks of one stage are spread over by
// namespace. A worker takes lanes in turn, so one namespace with many queued
// checks delays another by at most one check per lane. In a lane that both share,
// with probability 1/8, the other's newest checks go before every second one.
const Lanes = 8

// Key identifies a custom resource: its lowercase kind, namespace and name.
type Key struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// NewKey returns the key of a custom resource; kind may be in CamelCase.
func NewKey(kind, namespace, name string) Key {
	return Key{Kind: strings.ToLower(kind), Namespace: namespace, Name: name}
}

// String returns kind/namespace/name.
func (k Key) String() string { return k.Kind + "/" + k.Namespace + "/" + k.Name }

// Lane returns the lane of the key's namespace, from 0 to Lanes-1.
func (k Key) Lane() int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(k.Namespace)) // a hash never fails to write
	return int(h.Sum32() % Lanes)
}

// tokens returns the key as three subject tokens. Kubernetes names may hold
// dots but no underscore, so a dot travels as an underscore.
func (k Key) tokens() string {
	return escape(k.Kind) + "." + escape(k.Namespace) + "." + escape(k.Name)
}

// escape makes a name a token. What no Kubernetes name has, and references may yet have, is written as %XX: else a
// name such as * would stand for those of others.
func escape(name string) string {
	var token strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.':
			token.WriteByte('_')
		case c <= ' ' || c > '~' || strings.IndexByte("*>_%", c) >= 0:
			fmt.Fprintf(&token, "%%%02X", c)
		default:
			token.WriteByte(c)
		}
	}
	return token.String()
}

// unescape returns the name of a token; one that escape did not make stays as it is.
func unescape(token string) string {
	token = strings.ReplaceAll(token, "_", ".")
	if name, err := url.PathUnescape(token); err == nil {
		return name
	}
	return token
}

func keyFromTokens(tokens []string) (Key, error) {
	if len(tokens) != 3 {
		return Key{}, fmt.Errorf("want kind, namespace and name, got %d subject tokens", len(tokens))
	}
	return Key{Kind: unescape(tokens[0]), Namespace: unescape(tokens[1]), Name: unescape(tokens[2])}, nil
}

func laneToken(lane int) string { return strconv.Itoa(lane) }
