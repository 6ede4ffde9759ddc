// Package cluster is one target cluster as the applier's adapters see it: names
// of objects, a REST client that shares its connections between impersonated
// accounts, and discovery that finds a kind installed a moment ago.
package cluster
