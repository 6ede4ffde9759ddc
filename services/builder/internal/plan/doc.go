// Package plan turns what happens, in the cluster and on the bus, into checks of
// Kustomizations for the builder's workers. It decides nothing about builds.
//
//   - A Kustomization whose spec, deletion or reconcile request is new is
//     checked; all are when the process starts, and when the bus lost its streams.
//   - An event of a source checks the Kustomizations built from it; so does a
//     hook that names a Kustomization.
//   - A source's status is watched as well, in case its event is lost: a few
//     seconds later those are checked whose newest build is of another artifact.
//   - A labelled ConfigMap or Secret checks those that take variables or keys from it.
package plan
