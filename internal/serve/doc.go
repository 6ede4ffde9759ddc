// Package serve is the life of a process: its settings, its logs, its
// telemetry, its probes, and the orderly end.
//
// A main function parses settings (Settings, ParseArgs), builds its parts, and
// hands them to Run. Run serves /healthz, /readyz and /metrics, ends every part
// on SIGINT or SIGTERM, and waits for them up to a deadline.
//
// Everything that is logged passes one handler that removes credentials;
// Redact is the same for text that goes elsewhere, as into a status or an
// event.
package serve
