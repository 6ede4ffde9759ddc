package natsserver

import (
	"fmt"
	"log/slog"
)

// quietLogger turns the server's log into slog's, one level lower where it only
// tells of a healthy life.
type quietLogger struct{ log *slog.Logger }

// Noticef implements server.Logger.
func (l *quietLogger) Noticef(format string, v ...any) {
	l.log.Debug("nats server", "said", fmt.Sprintf(format, v...))
}

// Warnf implements server.Logger.
func (l *quietLogger) Warnf(format string, v ...any) {
	l.log.Warn("nats server", "said", fmt.Sprintf(format, v...))
}

// Errorf implements server.Logger.
func (l *quietLogger) Errorf(format string, v ...any) {
	l.log.Error("nats server", "said", fmt.Sprintf(format, v...))
}

// Fatalf implements server.Logger. The server returns an error besides.
func (l *quietLogger) Fatalf(format string, v ...any) {
	l.log.Error("nats server", "said", fmt.Sprintf(format, v...))
}

// Debugf implements server.Logger.
func (l *quietLogger) Debugf(format string, v ...any) {
	l.log.Debug("nats server", "said", fmt.Sprintf(format, v...))
}

// Tracef implements server.Logger.
func (l *quietLogger) Tracef(format string, v ...any) {
	l.log.Debug("nats server", "said", fmt.Sprintf(format, v...))
}
