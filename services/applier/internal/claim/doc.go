// Package claim is the fence between appliers. It reads the newest state of a
// Kustomization and writes its status, always on the resourceVersion that was
// read: of two appliers that begin the same attempt one gets a conflict and
// stops before it has touched anything else.
package claim
