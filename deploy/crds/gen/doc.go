// Command gen writes the custom resource definitions of package crds from the
// Go types that their owners publish. It is a module of its own, so that neither the
// types nor the generator become dependencies of what embeds the result.
//
//	cd deploy/crds/gen && GOWORK=off go run . ..
package main
