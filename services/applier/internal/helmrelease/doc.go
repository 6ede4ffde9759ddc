// Package helmrelease is the work of one check of a HelmRelease, in named phases:
//
//	read      the object; deleted, suspended, not served
//	chart     the HelmChart of spec.chart, dependencies, source, render
//	decide    what Helm's storage asks for (package verdict)
//	define    the chart's definitions, before anything is stored
//	run       one step of an action (package release), status, events
//
// No phase waits. What an action waits for comes back as another check, and whoever takes it
// goes on where the stored release says.
package helmrelease
