package serve

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// NewLogger returns a logger that writes one JSON object a line to w (stdout
// in a service) and removes credentials from it. No attribute has more than 16 KiB. level is trace, debug, info
// or error, the only levels that Flux's tools know: a warning is written as info,
// so what somebody has to mend is logged as an error.
//
// The keys are the ones that `flux logs` reads: ts, level, msg, error,
// controllerKind, name, namespace. The attributes "kind" and "err" are written
// as controllerKind and error, so callers use the short ones.
func NewLogger(w io.Writer, level string) (*slog.Logger, error) {
	l, err := parseLevel(level)
	if err != nil {
		return nil, err
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l, ReplaceAttr: replaceAttr})), nil
}

// parseLevel turns the value of --log-level into a level of slog.
func parseLevel(level string) (slog.Level, error) {
	switch level {
	case "trace":
		return slog.LevelDebug - 4, nil
	case "debug":
		return slog.LevelDebug, nil
	case "info", "":
		return slog.LevelInfo, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q is not one of trace, debug, info, error", level)
}

// maxLogged bounds an attribute, in bytes: some quote what a server or a repository of somebody else says.
const maxLogged = 16 << 10

func clean(s string) string { return Brief(s, maxLogged) }

// replaceAttr sees every attribute that is written: it gives it the key that
// readers expect, removes credentials from its value and cuts it when it is long.
func replaceAttr(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 {
		a.Key = outerKey(a.Key)
	}
	if sensitiveKey(a.Key) {
		return slog.String(a.Key, redacted)
	}
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(clean(a.Value.String()))
	case slog.KindAny:
		a.Value = redactAny(a.Value.Any())
	case slog.KindTime:
		a.Value = slog.StringValue(a.Value.Time().UTC().Format(time.RFC3339Nano))
	default: // numbers, booleans and durations hold no text
	}
	return a
}

func outerKey(key string) string {
	switch key {
	case slog.TimeKey:
		return "ts"
	case "kind":
		return "controllerKind"
	case "err":
		return "error"
	}
	return key
}

// redactAny turns a value into text or JSON without credentials.
func redactAny(v any) slog.Value {
	switch v := v.(type) {
	case slog.Level:
		return slog.StringValue(levelName(v))
	case error:
		return slog.StringValue(clean(v.Error()))
	case fmt.Stringer:
		return slog.StringValue(clean(v.String()))
	case []byte:
		return slog.StringValue(clean(string(v)))
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return slog.StringValue(clean(fmt.Sprint(v)))
	}
	text := clean(string(raw))
	if !json.Valid([]byte(text)) {
		return slog.StringValue(text)
	}
	return slog.AnyValue(json.RawMessage(text))
}

// levelName writes levels in lower case, as the flux CLI filters them.
func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelDebug:
		return "trace"
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelError:
		return "info"
	}
	return "error"
}

// sensitiveKey says that whatever an attribute of this name holds is secret.
func sensitiveKey(key string) bool {
	switch strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(key)) {
	case "password", "passwd", "passphrase", "token", "accesstoken", "bearertoken", "apikey",
		"secretkey", "clientsecret", "privatekey", "authorization", "credentials":
		return true
	}
	return false
}
