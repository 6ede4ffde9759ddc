// Package webhook is the service that takes pushes of Git providers: it keeps the
// Receivers' status, authenticates each delivery and puts it on the bus as
// hook.received. It answers 200 only when the bus has the event, and does nothing else.
package webhook
